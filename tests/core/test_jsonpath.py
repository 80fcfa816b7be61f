from __future__ import annotations

import pytest

from agent.core import jsonpath

VALUE = {
    "metadata": {"name": "vm", "labels": {"app.kubernetes.io/name": "web"}},
    "status": {
        "conditions": [
            {"type": "AgentReady", "status": "True", "count": 3},
            {"type": "Migratable", "status": "False", "count": 5},
        ],
        "empty": None,
        "deep": {"name": "inner"},
    },
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.metadata.name}", "vm"),
        (".metadata.name", "vm"),
        ("metadata.name", "vm"),
        ("{$.metadata.name}", "vm"),
        ("{@.metadata.name}", "vm"),
        (r"{.metadata.labels.app\.kubernetes\.io/name}", "web"),
        ("{.metadata.labels['app.kubernetes.io/name']}", "web"),
        ('{.metadata["name"]}', "vm"),
        ("{.status.conditions[0].type}", "AgentReady"),
        ("{.status.conditions[-1].type}", "Migratable"),
        ("{.status.conditions[7].type}", ""),
        ("{.status.conditions[*].type}", "AgentReady Migratable"),
        ("{.status.conditions[0:1].type}", "AgentReady"),
        ("{.status.conditions[-1:].type}", "Migratable"),
        ("{.status.conditions[::2].type}", "AgentReady"),
        ("{.status.conditions[1,0].count}", "5 3"),
        ("{.status.conditions[0]['type','status']}", "AgentReady True"),
        ('{.status.conditions[?(@.type=="AgentReady")].status}', "True"),
        ("{.status.conditions[?( @.type != 'AgentReady' )].type}", "Migratable"),
        ("{.status.conditions[?(@.count>3)].type}", "Migratable"),
        ("{.status.conditions[?(@.count<=3)].type}", "AgentReady"),
        ("{.status.conditions[?(@.type>3)].type}", ""),
        ("{.status.conditions[?(@.missing)].type}", ""),
        ("{.status.conditions[?(@.count)].type}", "AgentReady Migratable"),
        ("{.status.conditions[?(@.type==$.nothing)].type}", ""),
        ("{..name}", "vm inner"),
        ("{.status.deep.*}", "inner"),
        ("{.metadata.labels}", '{"app.kubernetes.io/name":"web"}'),
        ("{.status.empty}", "null"),
        ("{.nothing.at.all}", ""),
        ("name={.metadata.name}, {.status.deep.name}!", "name=vm, inner!"),
        (
            "{range .status.conditions[*]}{.type}={.status} of {$.metadata.name}{'\\n'}{end}",
            "AgentReady=True of vm\nMigratable=False of vm\n",
        ),
        ('{range .status.conditions[*]}{"\\t"}{.count}{end}.', "\t3\t5."),
        ('{"}"}', "}"),
    ],
)
def test_what_kubectl_prints(template: str, text: str) -> None:
    assert jsonpath.template(template).render(VALUE) == text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{.metadata", "never closed"),
        ("{.a[}", "missing in the brackets"),
        ("{.a[0}", "] is missing"),
        ("{.a[x]}", "in quotes"),
        ("{.a[?(@.b==c)]}", "text in quotes"),
        ("{.a[?(@.b=='c']}", ") is missing"),
        ("{.a['b]}", "never closed"),
        ("{.a..}", "name is missing"),
        ("{.a b}", "cannot follow"),
        ("{.a[::0]}", "never ends"),
        ("{range .a}x", "add {end}"),
        ("x{end}", "no {range}"),
    ],
)
def test_what_is_no_template_is_said_in_a_sentence(template: str, said: str) -> None:
    with pytest.raises(jsonpath.JSONPathError) as error:
        jsonpath.template(template)
    assert said in str(error.value)


def test_paths_of_columns_need_no_braces() -> None:
    path = ".status.conditions[?(@.type=='AgentReady')].status"
    assert jsonpath.find(path, VALUE) == ["True"]
    assert jsonpath.find(".status.nothing", VALUE) == []
