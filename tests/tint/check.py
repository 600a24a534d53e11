"""Shows shader texts to Tint, the WGSL compiler of a Chromium: check.py TEXTS CHROMIUM.

TEXTS is what the test `texts_for_another_compiler` of tests/shaders.rs writes. Ends with 1 and names each kernel,
variant, line and message where Tint refuses one, or where it accepts one of those below, which it must refuse.
"""

import contextlib
import http.server
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading

PAGE = pathlib.Path(__file__).with_name("page.html").read_bytes()
SECONDS = 300
# The adapter is software that comes with the browser; nothing is drawn and no profile is kept.
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run",
    "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
]


def wrong(why, source, subgroups=False, constants=None):
    """A text that Tint must refuse, so that a check that finds nothing is known to look."""
    main = "(@builtin(local_invocation_index) i: u32) { %s }" % source
    return {
        "kernel": "known to be wrong", "variant": why, "subgroups": subgroups, "half": False, "bindings": [], "constants": constants,
        "source": "override SIZE: u32 = 64u; @compute @workgroup_size(SIZE) fn main" + main,
    }


WRONG = [
    wrong("operators without parentheses", "let x = i > 1u | i == 0u;"),
    wrong("a barrier that half of the invocations reach", "if (i < 32u) { workgroupBarrier(); }"),
    wrong("a broadcast likewise", "if (i < 32u) { _ = subgroupBroadcast(i, 0u); }", subgroups=True),
    wrong("a constant that makes too many invocations", "", constants={"SIZE": 4096}),
]


def ask(texts, chromium):
    """The page's report."""
    reports = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            bodies = {"/": ("text/html", PAGE), "/texts.json": ("application/json", json.dumps(texts).encode())}
            if self.path not in bodies:
                return self.send_error(404)
            kind, body = bodies[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tempfile.TemporaryFile() as log:
        command = [chromium, *OPTIONS, f"--user-data-dir={folder}", f"http://127.0.0.1:{server.server_port}/"]
        browser = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            return reports.get(timeout=SECONDS)
        except queue.Empty:
            log.seek(0)
            end = log.read()[-3000:].decode(errors="replace")
            sys.exit(f"no report from {chromium} within {SECONDS} s; its last words:\n{end}")
        finally:
            # It ends its own processes; what does not end in time is ended with it.
            browser.terminate()
            try:
                browser.wait(timeout=10)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(browser.pid, signal.SIGKILL)


def main():
    path, chromium = sys.argv[1:]
    dump = json.loads(pathlib.Path(path).read_bytes())
    texts = dump["texts"] + WRONG
    report = ask(texts, chromium)
    if "failed" in report:
        sys.exit(f"Tint: {report['failed']}")
    results = report["results"]
    assert len(results) == len(texts)
    complaints, unchecked, accepted = {}, {}, []
    for text, result in zip(texts, results):
        name = f"{text['kernel']} ({text['variant']})"
        if "unchecked" in result:
            unchecked.setdefault(result["unchecked"], []).append(name)
        elif text in WRONG:
            accepted += [] if result["found"] else [text["variant"]]
        else:
            for complaint in result["found"]:
                complaints.setdefault(complaint, []).append(name)
    for complaint, names in complaints.items():
        print(f"Tint refuses {', '.join(names)}:\n  {complaint}")
    for why, names in unchecked.items():
        print(f"NOT CHECKED: {', '.join(names)}: {why}")
    for variant in accepted:
        print(f"Tint accepts what it must refuse: {variant}")
    linked = sum(result.get("linked", False) for result in results[:len(dump["texts"])])
    print(f"Tint ({report['adapter']}): {len(dump['texts'])} texts, {linked} pipelines;"
          f" of native devices only: {', '.join(dump['native_only']) or 'none'}")
    sys.exit(1 if complaints or accepted or not dump["texts"] else 0)


main()
