"""HOW plain values become typed settings: strict reading, ranges, nearest names, dotted keys, YAML.

A setting is a field of a dataclass, with a type, a default and a doc line. Everything else about it is in the field's
``metadata``, a plain dict, so that packages that import nothing of the suite (`models`) can set it too:

``at_least``, ``above``, ``at_most``, ``below``
    bounds of a number, or of every number in a list; None is allowed.
``finite``
    the number must not be infinite or NaN, which bounds demand too.
``most``
    the number of items that a list may have.
``different``
    the items of the list must all differ.
``beside``
    the reason why the setting cannot change a run's numbers; the setting is then not part of the run's identity.
``when_set``
    the reason why the setting is part of the identity only if it is not empty.

The package imports the standard library alone, and yaml in the functions that read it.
"""

from suite.fields.budgets import budget_text
from suite.fields.configurable import configurable, require_methods
from suite.fields.described import Described, described, in_yaml
from suite.fields.identity import without_beside
from suite.fields.names import ConfigError, nearest
from suite.fields.options import option_value, take_options
from suite.fields.printing import escaped, one_line
from suite.fields.reading import check_ranges, field_types, plain, read, read_value, require
from suite.fields.trees import flattened, nested
from suite.fields.user_files import is_the_users, raised, users_line
from suite.fields.yaml_files import read_yaml, yaml_value

__all__ = [
    "ConfigError",
    "Described",
    "budget_text",
    "check_ranges",
    "configurable",
    "described",
    "escaped",
    "field_types",
    "flattened",
    "in_yaml",
    "is_the_users",
    "nearest",
    "nested",
    "one_line",
    "option_value",
    "plain",
    "raised",
    "read",
    "read_value",
    "read_yaml",
    "require",
    "require_methods",
    "take_options",
    "users_line",
    "without_beside",
    "yaml_value",
]
