"""One table of settings: the command, the call and the page say what it says."""

from __future__ import annotations

import pytest

from edgesmith.exporter.commands.options import EXPORT
from edgesmith.exporter.commands.options_page import PAGE, page
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.plan.settings import SETTINGS, TASK_CHOICES, check_names
from edgesmith.exporter.tasks.known import EXPORTS
from edgesmith.runtime.errors import UserMistake


def test_the_page_in_the_checkout_is_the_one_that_is_generated():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run python -m edgesmith.exporter.commands.options_page and commit docs/export.md"


def test_every_option_stands_on_the_page_once():
    text = PAGE.read_text(encoding="utf-8")
    for name, one in EXPORT.items():
        for flag in one.names(name):
            assert (
                sum(f"`{flag}`" in row or f"`{flag} " in row for row in text.splitlines() if row.startswith("| `-"))
                == 1
            )


def test_the_command_has_the_settings_in_their_order_and_its_own_beside():
    assert [name for name in EXPORT if name in SETTINGS] == list(SETTINGS)
    assert set(EXPORT) - set(SETTINGS) == {"half", "int8", "quantize", "dry_run", "as_json"}


def test_what_tasks_choose_are_settings():
    assert {name for task in EXPORTS.values() for name in task.choices} == set(TASK_CHOICES)


@pytest.mark.parametrize(
    ("name", "near"), [("precison", "precision"), ("dryrun", "dry_run"), ("calib_image", "calib_images")]
)
def test_a_setting_that_there_is_not_is_told_with_its_neighbour(name: str, near: str):
    with pytest.raises(UserMistake, match=f"no option '{name}'") as caught:
        check_names([name])
    assert near in caught.value.attempt


def test_a_plan_refuses_it_too():
    with pytest.raises(UserMistake, match="no option 'qwertz'"):
        make_plan("smt", qwertz=1)
