"""HOW plain values become typed settings: strict reading, ranges, nearest names, dotted keys, YAML.

A setting is a field of a dataclass, with its type, default and a doc line. What else is to be known of it stands in the
field's ``metadata``, a plain dict, so that rooms that import nothing of the suite can write it too:

``at_least``, ``above``, ``at_most``, ``below``
    bounds of a number (or of every number of a list); None passes.
``different``
    no item of a list may come twice.
``beside``
    why the setting cannot change a run's numbers; it is no part of the run's identity then.
``when_set``
    why the setting is part of the identity only where it is not empty.

The room imports the standard library alone, and yaml in the one function that reads a file.
"""

from suite.fields.configurable import configurable
from suite.fields.identity import without_beside
from suite.fields.names import ConfigError, nearest
from suite.fields.options import option_value, take_options
from suite.fields.reading import check_ranges, field_types, plain, read, read_value, require
from suite.fields.trees import flattened, nested
from suite.fields.yaml_files import read_yaml, yaml_value

__all__ = [
    "ConfigError",
    "check_ranges",
    "configurable",
    "field_types",
    "flattened",
    "nearest",
    "nested",
    "option_value",
    "plain",
    "read",
    "read_value",
    "read_yaml",
    "require",
    "take_options",
    "without_beside",
    "yaml_value",
]
