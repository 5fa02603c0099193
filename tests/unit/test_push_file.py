import json
import os
import threading
from types import SimpleNamespace

import pytest

from relay.errors import InvalidMessage
from relay_cli import push_file as push_file_module
from relay_cli.push_file import push_file
from relay_cli.terminal import CommandFailed


class Queue:
    """A push queue that ends the run before it takes message number `ends_at`."""

    def __init__(self):
        self.sent = []
        self.ids = []
        self.ends_at = None

    def send(self, session, body, deduplication_id):
        if len(self.sent) == self.ends_at:
            raise KeyboardInterrupt
        self.sent.append(json.loads(body))
        self.ids.append(deduplication_id)
        return SimpleNamespace(message_id="id", sequence_number="1")


@pytest.fixture
def queue(monkeypatch):
    monkeypatch.setattr(push_file_module, "check_bot", check_bot)
    return Queue()


def check_bot(stack, bot):
    if bot == "defualt":
        raise CommandFailed(2, "there is no bot 'defualt'")


def stack_of(queue, url="url"):
    return SimpleNamespace(push_queue_url=url, open_message_queue=lambda: queue)


def file_with(folder, *texts):
    path = folder / "messages.jsonl"
    lines = [json.dumps({"session_id": "s", "text": text}, ensure_ascii=False) for text in texts]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def push_until(queue, path, ends_at, bot="one"):
    queue.ends_at = ends_at
    with pytest.raises(KeyboardInterrupt):
        push_file(stack_of(queue), path, bot)
    queue.ends_at = None


def texts(queue):
    return [message["text"] for message in queue.sent]


def test_a_file_that_was_sent_in_part_goes_on_where_it_was(queue, tmp_path):
    path = file_with(tmp_path, "a", "b", "c")
    push_until(queue, path, 2)
    assert push_file(stack_of(queue), path, "one") == (1, 2)
    assert texts(queue) == ["a", "b", "c"]
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_run_says_how_many_messages_it_sent(queue, tmp_path, capsys):
    push_until(queue, file_with(tmp_path, "a", "b", "c"), 2)
    assert capsys.readouterr().err == "relay: 2 of 3 messages were sent; run the same command to continue\n"


def test_the_counter_is_never_an_empty_file(queue, tmp_path):
    path = file_with(tmp_path, "a", "b")
    push_until(queue, path, 0)
    assert (tmp_path / "messages.jsonl.sent").read_text() == "000000000"


def test_a_message_whose_count_is_missing_is_sent_under_its_first_id(queue, tmp_path):
    path = file_with(tmp_path, "a", "b", "c")
    push_until(queue, path, 2)
    (tmp_path / "messages.jsonl.sent").write_text("1")
    push_file(stack_of(queue), path, "one")
    assert texts(queue) == ["a", "b", "b", "c"]
    assert queue.ids[1] == queue.ids[2]


def test_a_file_that_was_sent_can_be_sent_again_at_once(queue, tmp_path):
    path = file_with(tmp_path, "yes", "yes")
    push_file(stack_of(queue), path, "one")
    push_file(stack_of(queue), path, "one")
    assert len(set(queue.ids)) == 4


@pytest.mark.parametrize(
    ("url", "bot", "more", "said"),
    [
        ("url", "two", "", "2 messages of .* for the bot one, and this command is for the bot two"),
        ("other", "one", "", "2 messages of .* to url, and this command sends to other"),
        ("url", "one", "\n", "2 messages of .* and the file was changed since"),
    ],
)
def test_another_run_than_the_unfinished_one_is_refused(queue, tmp_path, url, bot, more, said):
    path = file_with(tmp_path, "a", "b", "c")
    push_until(queue, path, 2)
    path.write_text(more + path.read_text())
    with pytest.raises(CommandFailed, match=said):
        push_file(stack_of(queue, url), path, bot)
    assert texts(queue) == ["a", "b"]


@pytest.mark.parametrize("counter", ["", "two", "2"])
def test_a_counter_that_says_nothing_is_refused(queue, tmp_path, counter):
    path = file_with(tmp_path, "a")
    (tmp_path / "messages.jsonl.sent").write_text(counter)
    with pytest.raises(CommandFailed, match=r"do not say what was sent .* remove .*messages.jsonl.sent"):
        push_file(stack_of(queue), path, "one")
    assert queue.sent == []


def test_a_counter_that_cannot_be_written_is_refused_before_a_message(queue, tmp_path):
    path = file_with(tmp_path, "a")
    (tmp_path / "messages.jsonl.run").mkdir()
    with pytest.raises(CommandFailed, match=r"messages.jsonl.sent cannot be written: Is a directory"):
        push_file(stack_of(queue), path, "one")
    assert queue.sent == []


def test_a_pipe_is_sent_under_ids_of_its_content(queue, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for _ in range(2):
        threading.Thread(target=pipe.write_text, args=['{"session_id": "s", "text": "a"}\n' * 2]).start()
        assert push_file(stack_of(queue), pipe, "one") == (2, 0)
    assert queue.ids[:2] == queue.ids[2:]
    assert len(set(queue.ids)) == 2


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\ufeff"])
def test_only_a_line_feed_ends_a_line(queue, tmp_path, char):
    push_file(stack_of(queue), file_with(tmp_path, f"a{char}b", "c"), "one")
    assert texts(queue) == [f"a{char}b", "c"]


def test_what_windows_writes_around_lines_is_no_part_of_them(queue, tmp_path):
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"session_id": "s", "text": "a"}\r\n\r\n')
    assert push_file(stack_of(queue), path, "one") == (1, 0)
    assert queue.sent == [{"session_id": "s", "text": "a", "bot": "one"}]


def test_a_line_is_sent_as_it_is_with_the_bot_that_it_names(queue, tmp_path):
    line = {"session_id": "s", "text": "a", "bot": "its-own", "self": 1, "deduplication_id": "x"}
    path = tmp_path / "messages.jsonl"
    path.write_text(json.dumps(line))
    push_file(stack_of(queue), path, "one")
    assert queue.sent == [line]


def test_a_file_for_an_unknown_bot_is_refused_before_anything_is_sent(queue, tmp_path):
    path = file_with(tmp_path, "a")
    path.write_text(path.read_text() + '{"session_id": "s", "text": "b", "bot": "defualt"}')
    with pytest.raises(CommandFailed, match="there is no bot 'defualt'"):
        push_file(stack_of(queue), path, "one")
    assert queue.sent == []
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "x"}', "line 2: session_id is required"),
        ('{"session_id": "s", "text": "%s"}' % ("x" * (1 << 20)), "line 2: the request would be .* bytes"),
    ],
)
def test_a_file_with_a_wrong_line_is_refused_before_anything_is_sent(queue, tmp_path, line, said):
    path = file_with(tmp_path, "a")
    path.write_text(path.read_text() + line)
    with pytest.raises(InvalidMessage, match=said):
        push_file(stack_of(queue), path, "one")
    assert queue.sent == []
    assert list(tmp_path.iterdir()) == [path]
