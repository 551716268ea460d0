"""Two sides over one process that holds the built-in model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from engine.chat.asking import (
    AnswerFailed,
    AnswerFinished,
    Message,
    Progress,
    Question,
    Said,
    Sampling,
    Side,
    TextArrived,
)
from engine.chat.placing import Local
from engine.chat.session import Session, make_session
from engine.errors import UsageError
from engine.spec import local_model, pair_of
from engine.workspace import Workspace

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "tests" / "chat_templates"


@dataclass
class Heard:
    """What one call of `ask` has said, by side."""

    text: dict[str, str] = field(default_factory=dict)
    ends: dict[str, AnswerFinished | AnswerFailed] = field(default_factory=dict)
    progress: list[str] = field(default_factory=list)

    def take(self, said: Said) -> None:
        if isinstance(said, TextArrived):
            self.text[said.side] = self.text.get(said.side, "") + said.text
        elif isinstance(said, Progress):
            self.progress.append(said.what)
        else:
            assert said.side not in self.ends
            self.ends[said.side] = said

    def reason(self, side: Side) -> str:
        end = self.ends[side]
        return end.reason if isinstance(end, AnswerFinished) else end.error.code


def question(text: str = "Who are you?", **sampling: object) -> Question:
    return Question((Message("user", text),), Sampling(**{"temperature": 0.0, "max_tokens": 24, **sampling}))  # type: ignore[arg-type]


def endless(seed: int = 1) -> Question:
    """Return a question whose answer goes on until it is stopped: noise, of which nothing is an end."""
    return question("Go on", temperature=50.0, top_p=1.0, seed=seed, max_tokens=1800)


async def asked(session: Session, questions: Mapping[Side, Question]) -> Heard:
    heard = Heard()
    async for said in session.ask(questions):
        heard.take(said)
    return heard


def pid(session: Session) -> int:
    (resident,) = session._residents.values()
    assert resident.pid is not None
    return resident.pid


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(workspace: Workspace, adapters: Path) -> AsyncIterator[Session]:
    left, right = pair_of(workspace, "base", str(adapters / "one"))
    made = make_session(workspace, left, right)
    yield made
    await made.close()


async def test_base_and_adapter_answer_from_one_process(session: Session) -> None:
    assert "two rows of one batch" in session.path
    assert session.loaded == frozenset()
    said = [one.what async for one in session.open()]
    assert any("loading" in what for what in said)
    assert len(session.loaded) == 1
    heard = await asked(session, {"left": question(), "right": question()})
    assert heard.text["left"] != heard.text["right"]
    end = heard.ends["left"]
    assert isinstance(end, AnswerFinished)
    assert end.prompt_tokens == 12
    assert 0 < end.num_tokens <= 24
    assert end.first_token_seconds is not None
    assert end.tokens_per_second is not None
    alone = await asked(session, {"left": question()})
    assert alone.text == {"left": heard.text["left"]}


async def test_opening_what_is_open_does_nothing(session: Session) -> None:
    before = pid(session)
    assert [one async for one in session.open()] == []
    assert pid(session) == before


async def test_a_side_that_is_stopped_keeps_its_text_and_the_other_goes_on(session: Session) -> None:
    heard, stopped = Heard(), False
    async for said in session.ask({"left": endless(), "right": question(max_tokens=60, temperature=50.0)}):
        heard.take(said)
        if heard.text.get("left") and not stopped:
            stopped = True
            with pytest.raises(UsageError, match="still answering"):
                await asked(session, {"left": question()})
            await session.stop("left")
    assert heard.reason("left") == "stopped"
    assert heard.text["left"]
    assert heard.reason("right") in ("length", "stop")
    assert session.answering == frozenset()


async def test_the_other_side_can_be_asked_while_one_answers(session: Session) -> None:
    heard = Heard()

    async def left() -> None:
        async for said in session.ask({"left": endless()}):
            heard.take(said)
            if heard.text.get("left") and not begun.is_set():
                begun.set()

    begun = asyncio.Event()
    task = asyncio.create_task(left())
    await begun.wait()
    other = await asked(session, {"right": question()})
    assert other.reason("right") in ("stop", "length")
    assert not task.done()
    await session.stop()
    await task
    assert heard.reason("left") == "stopped"


async def test_who_stops_listening_stops_the_answer(session: Session) -> None:
    async with contextlib.aclosing(session.ask({"left": endless(), "right": endless(2)})) as answers:
        async for said in answers:
            if isinstance(said, TextArrived):
                break
    assert session.answering == frozenset()
    assert (await asked(session, {"left": question()})).reason("left") in ("stop", "length")


async def test_an_answer_can_be_begun_for_the_model(session: Session) -> None:
    begun = replace(question(), prefix="I am the")
    heard = await asked(session, {"left": begun})
    assert heard.text["left"].startswith(" ")


async def test_a_conversation_longer_than_the_context_says_how_long(session: Session) -> None:
    heard = await asked(session, {"left": question("word " * 3000), "right": question()})
    end = heard.ends["left"]
    assert isinstance(end, AnswerFailed)
    assert end.error.code == "context-exceeded"
    assert "2,048" in end.error.message
    assert end.error.remedy
    assert heard.reason("right") in ("stop", "length")


async def test_an_answer_ends_where_the_context_does(session: Session) -> None:
    heard = await asked(session, {"left": question("word " * 1010, temperature=50.0, top_p=1.0, max_tokens=4000)})
    end = heard.ends["left"]
    assert isinstance(end, AnswerFinished)
    assert end.prompt_tokens is not None
    assert end.reason != "length" or end.num_tokens + end.prompt_tokens == 2048


async def test_a_template_that_takes_no_system_prompt_says_so(session: Session, workspace: Workspace) -> None:
    gemma = (TEMPLATES / "gemma.jinja").read_text()
    before = session.pair.left
    assert isinstance(before, Local)
    model = replace(local_model(workspace, "tiny"), chat_template=gemma)
    async for _ in session.switch("left", model):
        pass
    asks = Question((Message("system", "Be brief."), Message("user", "Hi")), Sampling(temperature=0, max_tokens=4))
    heard = await asked(session, {"left": asks, "right": asks})
    end = heard.ends["left"]
    assert isinstance(end, AnswerFailed)
    assert end.error.code == "template-refuses"
    assert "takes no system prompt" in end.error.message
    assert heard.reason("right") == "length"
    two = Question((Message("user", "Hi"), Message("user", "Hi")), asks.sampling)
    refused = (await asked(session, {"left": two})).ends["left"]
    assert isinstance(refused, AnswerFailed)
    assert "refuses this conversation" in refused.error.message
    async for _ in session.switch("left", before.model):
        pass


async def test_switching_to_another_adapter_keeps_the_process(
    session: Session, workspace: Workspace, adapters: Path
) -> None:
    before, first = pid(session), await asked(session, {"right": question()})
    said = [one.what async for one in session.switch("right", local_model(workspace, str(adapters / "two")))]
    assert any("two" in what for what in said)
    second = await asked(session, {"right": question()})
    assert first.text != second.text
    async for _ in session.switch("right", local_model(workspace, str(adapters / "one"))):
        pass
    assert (await asked(session, {"right": question()})).text == first.text
    assert pid(session) == before


async def test_an_adapter_that_fits_no_longer_fails_its_side_alone(
    session: Session, workspace: Workspace, adapters: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "copy" / name).write_bytes((adapters / "one" / name).read_bytes())
    async for _ in session.switch("right", local_model(workspace, str(tmp_path / "copy"))):
        pass
    settings = json.loads((tmp_path / "copy" / "adapter_config.json").read_text())
    (tmp_path / "copy" / "adapter_config.json").write_text(json.dumps({**settings, "r": 4}))
    os.utime(tmp_path / "copy" / "adapter_model.safetensors", ns=(1, 1))  # as when a run writes a better one
    heard = await asked(session, {"left": question(), "right": question()})
    end = heard.ends["right"]
    assert isinstance(end, AnswerFailed)
    assert "cannot be put on" in end.error.message
    assert heard.reason("left") in ("stop", "length")
    async for _ in session.switch("right", local_model(workspace, str(adapters / "one"))):
        pass
    assert (await asked(session, {"right": question()})).reason("right") in ("stop", "length")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process's memory")
async def test_no_memory_in_the_middle_is_an_answer_that_failed(session: Session) -> None:
    import resource

    process = psutil.Process(pid(session))
    before = resource.prlimit(process.pid, resource.RLIMIT_AS)
    long = question("word " * 900, max_tokens=8)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (process.memory_info().vms + (16 << 20), before[1]))
    heard = await asked(session, {"left": long, "right": long})
    resource.prlimit(process.pid, resource.RLIMIT_AS, before)
    assert {heard.reason("left"), heard.reason("right")} == {"out-of-memory"}
    after = await asked(session, {"left": question(), "right": question()})
    assert {after.reason("left"), after.reason("right")} <= {"stop", "length"}
    assert pid(session) == process.pid


async def test_a_process_that_is_killed_is_an_answer_that_failed_and_the_next_starts_another(session: Session) -> None:
    before, heard = pid(session), Heard()
    async for said in session.ask({"left": endless(), "right": endless(2)}):
        heard.take(said)
        if heard.text.get("left") and heard.text.get("right") and psutil.pid_exists(before):
            with contextlib.suppress(ProcessLookupError):
                os.kill(before, signal.SIGKILL)
    for side in ("left", "right"):
        end = heard.ends[side]
        assert isinstance(end, AnswerFailed)
        assert end.error.code == "chat-worker-ended"
        assert "memory" in end.error.message
        assert end.error.remedy
    again = await asked(session, {"left": question(), "right": question()})
    assert {again.reason("left"), again.reason("right")} <= {"stop", "length"}
    assert any("loading" in what for what in again.progress)
    assert pid(session) != before


async def test_closing_ends_the_process(session: Session) -> None:
    before = pid(session)
    await session.close()
    assert not psutil.pid_exists(before)
    assert session.loaded == frozenset()


async def test_a_question_without_turns_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="no question"):
        await asked(session, {"left": Question(())})


_CONSOLE = """
import asyncio, sys
from pathlib import Path
from engine.chat.asking import Message, Question
from engine.chat.placing import Local
from engine.chat.session import make_session
from engine.spec import pair_of
from engine.workspace import Workspace

async def main():
    workspace = Workspace(Path(sys.argv[1]))
    session = make_session(workspace, *pair_of(workspace, "tiny", "tiny"))
    async for _ in session.open():
        (resident,) = session._residents.values()
        print(resident.pid, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
async def test_the_process_ends_with_its_console(
    workspace: Workspace, wait_for: Callable[..., object], how: signal.Signals
) -> None:
    console = subprocess.Popen(
        [sys.executable, "-P", "-c", _CONSOLE, str(workspace.path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert console.stdout is not None
    worker = int(console.stdout.readline())
    assert psutil.pid_exists(worker)
    console.send_signal(how)
    console.wait()
    console.stdout.close()
    wait_for(lambda: not psutil.pid_exists(worker), "the end of the worker")
