"""What an answer tells of its media: what was looked at and what was not."""

from __future__ import annotations

import dataclasses
import json

import pytest
from fakes import FakeExpert, found, image, make_agent, sound

from agent.agent import Agent

SCAN = dataclasses.replace(image(name="scan.tiff"), notes=("page 1 of 3 was opened, the others were not",))


@pytest.fixture
def agent() -> Agent:
    experts = [FakeExpert("detect", found("detect", "dog")), FakeExpert("speech", found("speech", "hi"), ("audio",))]
    return make_agent(experts)[0]


@pytest.mark.parametrize("route", ["experts", "connector", "auto"])
def test_notes_of_a_medium_are_in_the_answer_once_and_in_its_json(agent: Agent, route: str) -> None:
    (answer,) = agent.ask("What is it?", image=SCAN, route=route)
    assert answer.notes == SCAN.notes
    assert json.loads(json.dumps(answer.to_dict()))["notes"] == list(SCAN.notes)


def test_answer_without_anything_to_note_has_an_empty_list(agent: Agent) -> None:
    (answer,) = agent.ask("What is it?", image=image(), route="experts")
    assert answer.notes == ()


def test_with_several_media_a_note_says_which_it_is_of(agent: Agent) -> None:
    (answer,) = agent.ask("What is it?", media=[image(), SCAN], route="experts")
    assert answer.notes == (f"scan.tiff: {SCAN.notes[0]}",)


def test_a_medium_that_the_connector_cannot_take_is_noted(agent: Agent) -> None:
    (answer,) = agent.ask("What is it?", media=[image(), sound()], route="connector")
    assert answer.notes == ("talk.wav: the connector cannot hear: it has no encoder for sound",)
