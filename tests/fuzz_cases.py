"""Commands that somebody might mistype: valid examples of every command, and changes to their words and files."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st


@dataclasses.dataclass(frozen=True)
class Case:
    """A command line, and what lies in the folder that it is called in.

    Attributes:
        arguments: after ``python -m suite``.
        files: name -> content.
        damage: changes to the store ``runs``; empty: the case has no store, or a whole one where it asks for one.
        store: whether the folder has a store in which the sweep ``s.yaml`` was trained.
    """

    arguments: list[str]
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    damage: tuple[Damage, ...] = ()
    store: bool = False

    def lay_out(self, folder: Path) -> None:
        """Write the files, and damage the store."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        for change in self.damage:
            change.apply(folder / "runs")


@dataclasses.dataclass(frozen=True)
class Damage:
    """A change to one file of a store.

    Attributes:
        number: chooses among the files, in order of their names.
        kind: what is done to it.
        value: for the kinds that put something in its place.
        share: place in the file, as a share of its length.
    """

    number: int
    kind: str
    value: Any
    share: float

    def apply(self, store: Path) -> None:
        """Do it."""
        files = sorted(path for path in store.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            return
        path = files[self.number % len(files)]
        content = path.read_bytes()
        place = int(self.share * len(content))
        if self.kind == "gone":
            path.unlink()
        elif self.kind == "cut":
            path.write_bytes(content[:place])
        elif self.kind == "flipped":
            path.write_bytes(content[:place] + b"7" + content[place + 1 :])
        elif self.kind == "replaced":
            path.write_bytes(self.value if isinstance(self.value, bytes) else repr(self.value).encode())
        elif self.kind == "folder":
            path.unlink()
            path.mkdir()
        elif self.kind == "elsewhere":
            path.replace(path.with_name(f"{path.name}.old"))
        elif path.suffix == ".json":
            try:
                document = json.loads(content)
            except ValueError:  # an earlier change has damaged it
                return
            value = self.value.decode(errors="replace") if isinstance(self.value, bytes) else self.value
            if isinstance(document, dict | list) and document:
                _change_a_place(document, self.number, value)
            path.write_text(json.dumps(document))


DAMAGES = ["gone", "cut", "flipped", "replaced", "folder", "elsewhere", "value", "value", "value"]


def _change_a_place(document: Any, number: int, value: Any) -> None:
    """Put a value in the place of one of a document's, or leave it out where the value is ``...``."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(document)
    node, key = places[number % len(places)]
    if value is ...:
        del node[key]
    else:
        node[key] = value


TEXTS = [
    "", " ", "null", "~", "true", "-1", "0", "1", "3", "7", "2.5", "1e9", "1e-3", "1e400", "9" * 400, "9" * 5000,
    ".nan", ".inf", "-.inf", "1/0", "2/3", "[]", "{}", "{", "}", "[", "[a]b", "@x", "`x`", "*.jsonl.gz", "*", "&a",
    "%", "a: b", "a:", "a: [", "- a", "? b", "| x", "> x", "!!x y", "!x", "# x", "'", '"', "1:30", "0x10", "1_000",
    "[1, [2, [3]]]", "{a: {b: 1}}", "{name: sgd}", "\x1b[31mred", "\u00e9", "\U0001f600", "\udcff", "\u202ereversed",
    "a\nb", "a\tb", "x" * 3000, "..", "/", ".", "/dev/null", "/dev/full", "/proc/self/mem", "no/such/place", "a,b",
    ",", "=", "--", "-", "os.system", "torch.optim.Optimizer", "torch.optim.LBFGS", "suite.optim.SGD",
    "suite.cli.main.main", "sgd", "adam", "auto", "gpu", "tpu", "ddp9", "fsdp", "cpu", "paper", "sample", "bf16-mixed",
    "64-true", "2**31", str(2**31), str(2**32), str(2**63), str(-(2**63)), str(10**30), "1e-320", "None", "False",
    "yes", "on", "010", "1e", "1.2.3",
]  # fmt: skip
VALUES = [
    None, True, False, 0, 1, -1, 2, 5, 2**31, 2**32, 2**63, 10**18, 10**400, 0.5, -0.0, 1e-320, 1e308, float("nan"),
    float("inf"), [], {}, [1], [1, 1.0], [1, "a"], [[1]], [None], {"a": 1}, {1: 2}, {"decades": [-300, 300]},
    {"decades": [-2, 0], "per_decade": 10**9}, {"decades": [-300, 300], "per_decade": 100}, {"decades": ["1/0", 1]},
    {"decades": []}, {"decades": [0, 1], "per_decade": 0}, {"by_batch_size": {}}, {"by_batch_size": {1: [0.1]}},
    {"value": [1, 2]}, {"name": "sgd", "lr": 0.1}, {"class_path": "os.system"}, {"class_path": "suite.optim.SGD"},
    list(range(50)),
]  # fmt: skip
values = st.sampled_from(VALUES) | st.sampled_from(TEXTS)

SGD = ["--optimizer", "sgd", "--optimizer.lr", "0.1"]
QUADRATIC = [
    "--task", "toy/quadratic", "--data.noise", "gaussian", "--data.batch_size", "4", "--data.budget_steps", "3",
    "--trainer.accelerator", "cpu",
]  # fmt: skip
GPT = [
    "--task", "fineweb/gpt", "--data.source", "sample", "--data.tokenizer", "byte", "--data.seq_len", "32",
    "--data.eval_samples", "16", "--data.batch_size", "4", "--data.budget_steps", "2", "--model.width", "16",
    "--model.num_layers", "1", "--model.num_heads", "1", "--trainer.accelerator", "cpu",
    "--trainer.precision", "32-true",
]  # fmt: skip
MORE = [
    "--seed_everything", "--optimizer.momentum", "--optimizer.nesterov", "--optimizer.decay",
    "--optimizer.weight_decay", "--optimizer.undecayed", "--schedule", "--schedule.warmup_share", "--diagnostics",
    "--checkpoint_seconds", "--store", "--rerun", "--keep_checkpoint", "--config", "--data.micro_batch",
    "--data.budget_epochs", "--data.budget_samples", "--data.start_step", "--data.shuffle", "--data.order_seed",
    "--data.eval_every_steps", "--data.eval_samples", "--data.block_steps", "--data.num_workers", "--data.data_dir",
    "--data.source", "--data.num_samples", "--data.sigma", "--data.hessian", "--data.hessian_seed",
    "--model.clip_norm", "--model.clip_coordinate", "--model.initial", "--model.keep_weights_at", "--model.name",
    "--model.diagnostics", "--model.optimizer", "--model.schedule", "--model", "--data", "--trainer.devices",
    "--trainer.strategy", "--trainer.precision", "--trainer.max_steps", "--trainer.callbacks", "--trainer.logger",
    "--trainer.plugins", "--trainer.num_nodes", "--trainer.max_time", "--trainer.log_every_n_steps",
    "--trainer.deterministic", "--trainer.profiler", "--trainer.default_root_dir", "--trainer.benchmark",
    "--trainer.inference_mode", "--nothing", "--help", "--print_config", "--data.seq_len", "--model.width",
    "--model.num_heads", "--model.attention", "--data.tokenizer", "--data.val_share", "--data.max_tokens",
    "--ckpt_path",
]  # fmt: skip

SWEEP: dict[str, Any] = {
    "question": "?",
    "task": "toy/quadratic",
    "overrides": {"data.noise": "gaussian", "data.budget_steps": 3, "trainer.accelerator": "cpu"},
    "batch_size": [1, 2],
    "seeds": [1],
    "optimizers": {
        "sgd": {"lr": {"decades": [-6, -5], "per_decade": 1}, "momentum": 0.5},
        "adam": {"lr": {"by_batch_size": {1: [0.001], 2: [0.001, 0.01]}}, "beta": 0.9},
    },
    "extend_edges": 0,
    "extend_axes": ["lr"],
    "final_loss": "val",
}
"""The sweep that the store of a case was made with."""

RICH = {
    **SWEEP,
    "finalists": {"settings": 2, "seeds": [5]},
    "report_seeds": [7],
    "extend_edges": 1,
    "published": [{"batch_size": 1, "gap": 0.1, "source": "nowhere"}],
    "panels": {"one": {"batch_size": [1]}, "two": {"overrides": {"data.sigma": 2.0}, "optimizers": {"adam": None}}},
}
TRUNK = {
    **SWEEP,
    "overrides": {**SWEEP["overrides"], "data.budget_steps": 8},
    "trunk": {"optimizers": {"sgd": {"lr": 1e-6}}, "checkpoints": [0.5]},
    "branches": {"schedule": "linear"},
}
TEXT = {
    **SWEEP,
    "task": "fineweb/gpt",
    "overrides": {
        **dict(zip([word[2:] for word in GPT[2::2]], [yaml.safe_load(word) for word in GPT[3::2]], strict=True)),
    },
}
del TEXT["overrides"]["data.batch_size"]
KEYS = [
    *RICH, "trunk", "branches", "diagnose", "value", "decades", "per_decade", "by_batch_size", "name", "lr",
    "undecayed", "decay", "weight_decay", "checkpoints", "schedule", "settings", "model.width", "model.num_heads",
    "model.optimizer", "data.batch_size", "seed_everything", "trainer.devices", "trainer.strategy", "data.micro_batch",
    "data.seq_len", "model.initial", "data.data_dir", "config", "print_config", "data", "model.init_args", "qestion",
    "optimisers", "",
]  # fmt: skip


def _misspelt(draw: st.DrawFn, word: str) -> str:
    place = draw(st.integers(0, max(0, len(word) - 1)))
    return draw(st.sampled_from([word[:place] + word[place + 1 :], word[:place] + "x" + word[place:], word.upper()]))


@st.composite
def words_changed(draw: st.DrawFn, words: list[str]) -> list[str]:
    """A command line with one to three changes."""
    words = list(words)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(words) - 1)))
        change = draw(
            st.sampled_from(["value", "value", "value", "more", "more", "drop", "twice", "misspell", "equals"])
        )
        if change == "more" or not words:
            words += [draw(st.sampled_from(MORE)), draw(st.sampled_from(TEXTS))]
        elif change == "value":
            words[place | 1 if (place | 1) < len(words) else place] = draw(st.sampled_from(TEXTS))
        elif change == "drop":
            del words[place]
        elif change == "twice":
            words[place:place] = words[place : place + 2]
        elif change == "misspell":
            words[place] = _misspelt(draw, words[place])
        else:
            words[place : place + 2] = ["=".join(words[place : place + 2])]
    return words


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every mapping or list of a document, with each of its keys."""
    places: list[tuple[Any, Any]] = []
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        places.append((node, key))
        if isinstance(node[key], dict | list):
            places += _places(node[key])
    return places


@st.composite
def documents_changed(draw: st.DrawFn, document: dict[str, Any]) -> bytes:
    """A YAML file with one to three changes to its values, keys or text."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        node, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["value", "value", "value", "key", "drop", "misspell", "wrap"]))
        if change == "value":
            node[key] = copy.deepcopy(draw(values))
        elif change == "key" and isinstance(node, dict):
            node[draw(st.sampled_from(KEYS))] = copy.deepcopy(draw(values))
        elif change == "drop":
            del node[key]
        elif change == "misspell" and isinstance(key, str):
            node[_misspelt(draw, key)] = node.pop(key)
        else:
            node[key] = [node[key]]
    text = yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(text)))
        text = (
            text[:place]
            + draw(st.sampled_from([b"{", b"[", b"@", b"*a", b"&a ", b"\t", b"!", b"\xff", b": "]))
            + text[place:]
        )
    return text


@st.composite
def fits(draw: st.DrawFn) -> Case:
    """``fit`` with changed words; some with files of settings."""
    task = draw(st.sampled_from([QUADRATIC, QUADRATIC, GPT]))
    kind = draw(st.sampled_from(["words", "words", "words", "layer", "optimizer"]))
    if kind == "words":
        return Case(["fit", *draw(words_changed([*task, *SGD]))])
    if kind == "optimizer":
        spec = {"name": "adam", "lr": 0.1, "beta": 0.9, "decay": "none", "undecayed": ["norm"]}
        return Case(["fit", *task, "--optimizer", "o.yaml"], {"o.yaml": draw(documents_changed(spec))})
    layer = {
        "seed_everything": 3,
        "trainer": {"devices": 1, "precision": "32-true"},
        "model": {
            "init_args": {"clip_norm": 1.0, "optimizer": {"class_path": "suite.optim.SGD", "init_args": {"lr": 0.1}}}
        },
        "data": {"init_args": {"budget_steps": 3, "micro_batch": 2}},
    }
    # A layer may set the budget to null: the epoch that it then asks for must be a short one.
    short = ["--data.num_samples", "64"] if task is QUADRATIC else []
    return Case(["fit", *task, *short, "--config", "l.yaml"], {"l.yaml": draw(documents_changed(layer))})


@st.composite
def sweeps(draw: st.DrawFn) -> Case:
    """``sweep`` of a changed YAML, mostly estimated, sometimes trained."""
    document = draw(st.sampled_from([SWEEP, SWEEP, RICH, TRUNK, TEXT]))
    content = draw(documents_changed(document))
    how = draw(st.sampled_from([["--dry-run"], ["--dry-run"], ["--dry-run"], ["--pack", "off", "--compile", "off"]]))
    words = ["s.yaml", *how]
    if draw(st.integers(0, 3)) == 0:
        content, words = (
            yaml.safe_dump(document).encode(),
            draw(words_changed([*words, "--workers", "1", "--pack", "2"])),
        )
    return Case(["sweep", *words], {"s.yaml": content})


CSV = (
    b"data,lr,wd,bs,mom,opt,seed,tr_loss_history,vl_loss_history\n"
    b'd,0.1,0,4,0.9,sgd,1,"[3.0, 2.0, 1.0]","[2.0]"\nd,0.2,0,4,0.9,adam,1,"[3.0, \'NaN\']","[]"\n'
    b'd,0.1,0,8,0.9,sgd,1,"[3.0, 2.0, 1.0]","[2.0]"\nd,0.2,0,8,0.9,adam,1,"[3.0, 2.5]","[2.4]"\n'
)
CELLS = [
    b"", b'"', b"nan", b"inf", b"-1", b"0", b"1e400", b"9" * 400, b"=1+1", b"[1.0", b'"[]"', b"\x00", b"\xff", b"\r",
    b"None", b"True", b"[[1]]", b"sgd", b"\xef\xbb\xbf", b"1/0", b"\x1b[31m", b";", b'"[1.0, None]"', b"\n", b",",
]  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> Case:
    """``gap`` and ``compare`` of a changed CSV."""
    content = CSV
    for _ in range(draw(st.integers(1, 3))):
        cells = content.split(b",")
        cells[draw(st.integers(0, len(cells) - 1))] = draw(st.sampled_from(CELLS))
        content = b",".join(cells)
    words = draw(
        st.sampled_from(
            [["gap", "--csv", "r.csv"], ["gap", "--csv", "r.csv", "--final-loss", "val"], ["compare", "r.csv", "q.csv"]]
        )
    )
    if draw(st.integers(0, 4)) == 0:
        words = [words[0], *draw(words_changed(words[1:]))]
    return Case(words, {"r.csv": content, "q.csv": CSV})


damages = st.builds(
    Damage,
    st.integers(0, 10_000),
    st.sampled_from(DAMAGES),
    values | st.just(...) | st.binary(max_size=20),
    st.floats(0, 1, exclude_max=True),
)
READING = [
    ["status", "s.yaml"], ["gap", "s.yaml"], ["report", "s.yaml", "--looks", "page"], ["report"],
    ["sweep", "s.yaml", "--dry-run"],
    ["compare", "runs", "runs"], ["why"], ["theory", "fit", "s.yaml"],
    ["sweep", "s.yaml", "--pack", "off", "--compile", "off"],
]  # fmt: skip


@st.composite
def stores(draw: st.DrawFn) -> Case:
    """A command that reads a store, whose files were damaged."""
    words = draw(st.sampled_from(READING))
    damage = tuple(draw(st.lists(damages, min_size=1, max_size=3)))
    return Case(words, {"s.yaml": yaml.safe_dump(SWEEP).encode()}, damage, store=True)


OTHERS = [
    ["status", "s.yaml"], ["gap", "s.yaml", "--reference", "adam"], 
    ["report", "s.yaml", "--out", "o", "--looks", "page"],
    ["why", "--csv", "w.csv"], ["compare", "runs", "runs", "--sweep", "s"], ["optimizers", "sgd"], ["tasks"],
    ["tasks", "toy/quadratic"], ["reference", "sweep"], ["predict", "a", "--out", "p.parquet"],
    ["diagnose", "--list"], ["theory", "fit", "s.yaml"], ["theory", "bigram", "--target", "0.1", "--out", "o"],
    ["theory", "regimes", "--dimension", "100", "--noise", "1", "--out", "o"],
    ["diagnose", *QUADRATIC, *SGD, "--diagnostics", "sharpness"], ["prepare", *GPT], ["prepare", *QUADRATIC],
    ["validate", *QUADRATIC, *SGD, "--ckpt_path", "none.ckpt"], ["sweep", "s.yaml", "--dry-run", "--workers", "1"],
    ["sweep", "s.yaml", "--export-commands", "c.txt", "--pack", "2"], ["status", "s.yaml", "--sources", "s.yaml"],
]  # fmt: skip


@st.composite
def others(draw: st.DrawFn) -> Case:
    """Every other command with changed words, beside a whole store."""
    words = draw(st.sampled_from(OTHERS))
    changed = draw(words_changed(words[1:] or ["--help"]))
    return Case([words[0], *changed], {"s.yaml": yaml.safe_dump(SWEEP).encode()}, store=True)


KINDS: dict[str, Callable[[], st.SearchStrategy[Case]]] = {
    "fit": fits, "sweep": sweeps, "csv": tables, "store": stores, "other": others,
}  # fmt: skip
"""What a case is about -> its cases."""
