"""The graph networks: sizes of the papers, invariance, slow references, runs stacked by vmap."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("torch_geometric")

from models.gat import GAT, GATSettings
from models.gcn import GCN, GCNSettings
from models.grit import GRIT, GRITSettings, Pairs, signed_sqrt

NAMES = ["gat", "gcn", "grit"]
SIZES = [5, 1, 7, 2]
STEPS = 6


def make(name: str, **sizes: Any) -> nn.Module:
    torch.manual_seed(0)
    if name == "grit":
        grit = GRITSettings(**({"num_layers": 2, "num_heads": 3, "width": 16} | sizes))
        network: nn.Module = GRIT(grit, atom_types=6, bond_types=4, rrwp_steps=STEPS)
    elif name == "gat":
        network = GAT(GATSettings(**({"num_layers": 2, "num_heads": 2, "width": 16} | sizes)), atom_types=6)
    else:
        network = GCN(GCNSettings(**({"num_layers": 2, "width": 16} | sizes)), atom_types=6)
    return network.double()


def make_graphs(sizes: list[int] = SIZES) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Atoms, symmetric adjacency and bond types of random graphs."""
    generator = torch.Generator().manual_seed(1)
    graphs = []
    for n in sizes:
        upper = torch.triu(torch.rand(n, n, generator=generator) < 0.5, diagonal=1)
        types = torch.triu(torch.randint(1, 4, (n, n), generator=generator), diagonal=1) * upper
        graphs.append((torch.randint(0, 6, (n,), generator=generator), upper | upper.T, types + types.T))
    return graphs


def walks(adjacency: Tensor, steps: int = STEPS) -> Tensor:
    """``[n, n, K]``, by the definition."""
    a = adjacency.double()
    walk = a / a.sum(1, keepdim=True).clamp(min=1)
    return torch.stack([torch.linalg.matrix_power(walk, k) for k in range(steps)], dim=-1)


def inputs(name: str, graphs: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Any, ...]:
    atoms, edges, bonds, graph, pairs, of_edge, of_node, rrwp = [], [], [], [], [], [], [], []
    first, first_pair = 0, 0
    for g, (types, adjacency, bond) in enumerate(graphs):
        n = len(types)
        ends = adjacency.nonzero().T
        atoms.append(types)
        edges.append(ends + first)
        bonds.append(bond[ends[0], ends[1]])
        graph.append(torch.full((n,), g))
        target, source = torch.cartesian_prod(torch.arange(n), torch.arange(n)).reshape(-1, 2).T
        pairs.append(torch.stack([source, target]) + first)
        of_edge.append(ends[1] * n + ends[0] + first_pair)
        of_node.append(torch.arange(n) * (n + 1) + first_pair)
        rrwp.append(walks(adjacency).reshape(n * n, -1))
        first, first_pair = first + n, first_pair + n * n
    joined = (torch.cat(atoms), torch.cat(edges, 1), torch.cat(graph))
    if name != "grit":
        return *joined, len(graphs)
    of_graphs = Pairs(torch.cat(pairs, 1), torch.cat(of_edge), torch.cat(of_node), torch.cat(rrwp))
    return joined[0], joined[1], torch.cat(bonds), joined[2], of_graphs, len(graphs)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: GAT(GATSettings(), atom_types=28), 274_689),
        (lambda: GCN(GCNSettings(), atom_types=28), 272_641),
        (lambda: GRIT(GRITSettings(), atom_types=28, bond_types=4, rrwp_steps=21), 274_369),
    ],
    ids=NAMES,
)
def test_parameters_are_the_papers(network: Any, count: int) -> None:
    found = sum(p.numel() for p in network().parameters())
    assert found == count
    assert round(found / 1e6, 2) == 0.27


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_order_of_atoms_and_graphs_does_not_matter(name: str, training: bool) -> None:
    network = make(name).train(training)
    graphs = make_graphs()
    order = [2, 0, 3, 1]
    turned = []
    for g in order:
        atoms, adjacency, bonds = graphs[g]
        p = torch.randperm(len(atoms), generator=torch.Generator().manual_seed(g))
        turned.append((atoms[p], adjacency[p][:, p], bonds[p][:, p]))
    before = network(*inputs(name, graphs))
    after = network(*inputs(name, turned))
    assert before.std() > 1e-3
    assert torch.allclose(before[order], after, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_edges_does_not_matter(name: str) -> None:
    network = make(name).eval()
    given = list(inputs(name, make_graphs()))
    p = torch.randperm(given[1].shape[1], generator=torch.Generator().manual_seed(3))
    before = network(*given)
    given[1] = given[1][:, p]
    if name == "grit":
        given[2], given[4] = given[2][p], given[4]._replace(of_edge=given[4].of_edge[p])
    assert torch.allclose(before, network(*given), atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_graphs_of_a_batch_do_not_meet_in_evaluation(name: str) -> None:
    network = make(name).eval()
    graphs = make_graphs()
    together = network(*inputs(name, graphs))
    alone = torch.cat([network(*inputs(name, [graph])) for graph in graphs])
    assert torch.allclose(together, alone, atol=1e-10)


def test_grit_sees_bonds_and_walks() -> None:
    network = make("grit").eval()
    given = inputs("grit", make_graphs())
    before = network(*given)
    assert not torch.allclose(before, network(*given[:2], given[2] % 3 + 1, *given[3:]))
    squared = given[4]._replace(rrwp=given[4].rrwp ** 2)
    assert not torch.allclose(before, network(*given[:4], squared, given[5]))


def test_grit_attention_equals_loops_over_nodes() -> None:
    network = make("grit")
    attention = network.blocks[0].attn
    graphs = make_graphs([4])
    given = inputs("grit", graphs)
    x, e = torch.randn(4, 16).double(), torch.randn(16, 16).double()
    nodes, pairs = attention(x, e, given[4].index)
    heads, dim = 3, 5
    q, k, v, both = attention.query(x), attention.key(x), attention.value(x), attention.pair(e)
    for i in range(4):
        for h in range(heads):
            at = slice(h * dim, (h + 1) * dim)
            us, scores = [], []
            for j in range(4):
                gate, shift = both[i * 4 + j].view(heads, 2 * dim)[h].split(dim)
                product = (q[i, at] + k[j, at]) * gate
                u = (product.sign() * product.abs().sqrt() + shift).clamp(min=0)
                assert torch.allclose(pairs[i * 4 + j, at], u)
                us.append(u)
                scores.append((u @ attention.score_DH[:, h]).clamp(-5, 5))
            share = torch.stack(scores).softmax(0)
            value = sum(share[j] * v[j, at] for j in range(4))
            relation = sum(share[j] * us[j] for j in range(4))
            expected = value + relation @ attention.relation_DHD[:, h]
            assert torch.allclose(nodes[i, at], expected)


def test_signed_sqrt_has_a_finite_slope_at_zero() -> None:
    x = torch.tensor([-4.0, 0.0, 9.0], requires_grad=True)
    y = signed_sqrt(x)
    y.sum().backward()
    assert y.tolist() == [-2.0, 0.0, 3.0]
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_gcn_equals_the_dense_formula() -> None:
    network = make("gcn").eval()
    (atoms, adjacency, _), *_ = graphs = make_graphs([6])
    looped = adjacency.double() + torch.eye(6).double()
    scale = looped.sum(1).rsqrt()
    x = network.embed(atoms)
    for conv, norm in zip(network.convs, network.norms, strict=True):
        x = torch.relu(norm(scale[:, None] * looped * scale @ conv.lin(x) + conv.bias))
    assert torch.allclose(network(*inputs("gcn", graphs)), network.head(x.mean(0)), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_runs_can_be_stacked_with_vmap(name: str) -> None:
    given = inputs(name, make_graphs())
    networks = [make(name) for _ in range(3)]
    for seed, network in enumerate(networks):
        torch.manual_seed(seed)
        for p in network.parameters():
            p.data += 0.1 * torch.randn_like(p)
    parameters, buffers = torch.func.stack_module_state(networks)

    def forward(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(networks[0], (p, b), given)

    def total(p: dict[str, Tensor]) -> Tensor:
        return torch.func.vmap(forward)(p, buffers).abs().sum()

    outputs = torch.func.vmap(forward)(parameters, {k: v.clone() for k, v in buffers.items()})
    total(parameters).backward()
    for r, network in enumerate(networks):
        alone = network(*given)
        assert torch.allclose(outputs[r], alone, atol=1e-9)
        alone.abs().sum().backward()
        for key, p in network.named_parameters():
            if p.grad is None:  # the last block's pairs
                assert name == "grit" and key.startswith("blocks.1.pair_") and parameters[key].grad is None
            else:
                assert torch.allclose(parameters[key].grad[r], p.grad, atol=1e-7), key


@pytest.mark.parametrize("name", NAMES)
def test_networks_run_under_bf16_autocast(name: str) -> None:
    network = make(name).float()
    given = inputs(name, make_graphs())
    if name == "grit":
        given = (*given[:4], given[4]._replace(rrwp=given[4].rrwp.half()), given[5])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(*given)
    outputs.float().sum().backward()
    assert torch.isfinite(outputs).all()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="divisible by num_heads"):
        GAT(GATSettings(num_heads=3, width=16), atom_types=5)
    with pytest.raises(ValueError, match="must not exceed width"):
        GRIT(GRITSettings(num_heads=8, width=4), atom_types=5, bond_types=4, rrwp_steps=STEPS)
