"""Image servers on a loopback port that behave as vLLM-Omni's, SGLang's and ComfyUI's documentation says."""

import base64
import io
import json
import select
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


def picture(size=(64, 64), form="PNG"):
    """An image file."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, form)
    return buffer.getvalue()


class StandIn:
    """A server in threads of its own; use it in a ``with``.

    Attributes:
        requests: What came: method, path, headers and body of each request.
    """

    def __init__(self, port=0):
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer(self, body):
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                status, content = outer.answer(self.command, self.path, body, self)
                if status is None:
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def bodies(self, path):
        """Bodies of the requests to a path."""
        return [body for _, asked, _, body in self.requests if asked == path]


class OpenAIStandIn(StandIn):
    """``/v1/images/generations``, ``/v1/models``, ``/metrics``; drops a request whose client leaves, as vLLM-Omni does.

    Attributes:
        refusal: Status and body of every answer to a request for images; None: they are made.
        gate: Images are made once it is set.
        left: Set when a client left before its images were there.
    """

    def __init__(self, models=("draw-1",), as_url=False, form="PNG", metrics=b"", port=0):
        self.models, self.as_url, self.form, self.metrics = models, as_url, form, metrics
        self.refusal = None
        self.gate, self.left = threading.Event(), threading.Event()
        self.gate.set()
        super().__init__(port)

    def answer(self, method, path, body, handler):
        if path == "/v1/models":
            return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        if path == "/metrics":
            return 200, self.metrics
        if path.startswith("/v1/images/") and path.endswith("/content"):
            return 200, picture(form=self.form)
        if path != "/v1/images/generations":
            return 404, {"detail": "Not Found"}
        if self.refusal is not None:
            return self.refusal
        while not self.gate.wait(0.01):
            if select.select([handler.connection], [], [], 0)[0]:  # end of file: the client has left
                self.left.set()
                return None, None
        width, height = map(int, body.get("size", "64x64").split("x"))
        file = base64.b64encode(picture((width, height), self.form)).decode()
        one = {"url": f"{self.url}/v1/images/7/content"} if self.as_url else {"b64_json": file}
        return 200, {"created": 1, "data": [one] * body.get("n", 1)}


class ComfyUIStandIn(StandIn):
    """``/prompt``, ``/queue``, ``/history``, ``/view``, ``/interrupt``; one prompt runs, the others wait.

    Attributes:
        hold: Prompts stay as they are while it is set.
        failure: What the running node raises: type and message; None: it draws.
        running: Ids that run.
        pending: Ids that wait.
    """

    def __init__(self):
        self.hold, self.failure = threading.Event(), None
        self.running, self.pending, self.history = [], [], {}
        super().__init__()

    def answer(self, method, path, body, handler):
        route, _, rest = path.lstrip("/").partition("/")
        return getattr(self, f"on_{route.partition('?')[0]}")(rest, body)

    def on_system_stats(self, rest, body):
        return 200, {"system": {"comfyui_version": "0.3"}, "devices": []}

    def on_prompt(self, rest, body):
        graph = body["prompt"]
        if "refused" in json.dumps(graph):
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
            return 400, {"error": error, "node_errors": {}}
        prompt_id = uuid.uuid4().hex
        self.pending.append(prompt_id)
        self.start()
        return 200, {"prompt_id": prompt_id, "number": 1, "node_errors": {}}

    def on_queue(self, rest, body):
        if body is not None:
            self.pending = [one for one in self.pending if one not in body["delete"]]
            return 200, b""
        entries = {"queue_running": self.running, "queue_pending": self.pending}
        return 200, {key: [[1, one, {}, {}, []] for one in ids] for key, ids in entries.items()}

    def on_interrupt(self, rest, body):
        self.running = [one for one in self.running if one != body["prompt_id"]]
        return 200, b""

    def on_history(self, rest, body):
        if not self.hold.is_set():
            for prompt_id in self.running:
                self.history[prompt_id] = self.entry()
            self.running = []
            self.start()
        return 200, {rest: self.history[rest]} if rest in self.history else {}

    def on_view(self, rest, body):
        return 200, picture()

    def start(self):
        if self.pending and not self.running:
            self.running.append(self.pending.pop(0))

    def entry(self):
        """What the history has of a prompt that ended."""
        if self.failure is not None:
            kind, text = self.failure
            said = {"node_id": "3", "exception_type": kind, "exception_message": text, "traceback": []}
            messages = [["execution_start", {}], ["execution_error", said]]
            return {"outputs": {}, "status": {"status_str": "error", "completed": False, "messages": messages}}
        images = [
            {"filename": "preview.png", "subfolder": "", "type": "temp"},
            {"filename": "image_1.png", "subfolder": "", "type": "output"},
        ]
        status = {"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}
        return {"outputs": {"9": {"images": images}}, "status": status}
