"""Answers commands that come as lines of JSON on standard input, each in a thread of its own."""

import collections
import json
import os
import sys
import threading

writing = threading.Lock()
cancelled = {}  # events of the requests that run, by id


class Failure(Exception):
    def __init__(self, code, name, message):
        super().__init__(message)
        self.fields = {"code": code, "codeName": name, "errmsg": message}


def say(message):
    with writing:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def words(command, stop):
    text = command["words"]
    if not isinstance(text, str):
        raise Failure(14, "TypeMismatch", "BSON field 'words.words' has to be a string")
    count = collections.Counter(text.lower().split())
    if not count:
        raise Failure(10000200, "NoWords", "the text has no words")
    return {"words": sum(count.values()), "distinct": len(count), "most": count.most_common(1)[0][0]}


def sleep(command, stop):
    if stop.wait(command["sleep"]):
        print("a nap was interrupted", file=sys.stderr, flush=True)
    return {"slept": command["sleep"]}


def where(command, stop):
    return {"uri": os.environ["ARCHELON_URI"]}


def primes(command, stop):
    for n in range(2, command["below"]):
        if stop.is_set():
            return
        if all(n % d for d in range(2, int(n ** 0.5) + 1)):
            yield {"prime": n}


COMMANDS = {"words": words, "sleep": sleep, "where": where}
STREAMS = {"primes": primes}


def answer(number, command, stop):
    name = next(iter(command))
    try:
        if name in STREAMS:
            for item in STREAMS[name](command, stop):
                say({"id": number, "item": item})
            say({"id": number, "end": True})
        else:
            say({"id": number, "reply": COMMANDS[name](command, stop)})
    except Failure as failure:
        say({"id": number, "error": failure.fields})
    except Exception as failure:
        say({"id": number, "error": {"code": 1, "codeName": "InternalError", "errmsg": repr(failure)}})
    finally:
        cancelled.pop(number, None)


for line in sys.stdin:
    request = json.loads(line)
    if request.get("cancel"):
        stop = cancelled.get(request["id"])
        if stop:
            stop.set()
        continue
    stop = cancelled[request["id"]] = threading.Event()
    threading.Thread(target=answer, args=(request["id"], request["command"], stop), daemon=True).start()
