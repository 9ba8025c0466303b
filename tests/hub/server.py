"""A small Hugging Face Hub on the loopback interface, for the real huggingface_hub client: nothing leaves the machine.

It keeps every commit of every repository in memory and knows the calls that a push and a download make.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_loopback"


@dataclass
class Repository:
    """Commits, oldest first: (id, message, files)."""

    private: bool
    sdk: str | None
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)

    def add(self, message: str, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{len(self.commits)}{message}{sorted(files)}".encode()).hexdigest()
        self.commits.append((oid, message, files))
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1][0], self.commits[-1][2]
        return next(((oid, files) for oid, _, files in self.commits if oid == revision), None)


class Hub(ThreadingHTTPServer):
    """`url`, `repositories` by (type, name), `requests` as "METHOD /path"."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def files(self, name: str, kind: str = "model") -> dict[str, bytes]:
        return self.repositories[kind, name].commits[-1][2]


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_POST(self) -> None:
        body = self._begin()
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "no write permission"}, 403)
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path.endswith("/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        if found := re.match(r"/api/(model|space|dataset)s/([^/]+/[^/]+)/(preupload|commit)/main", self.path):
            kind, name, call = found.groups()
            return self._preupload(json.loads(body)) if call == "preupload" else self._commit(kind, name, body)
        return self._answer({"error": "unknown call"}, 404)

    def do_PUT(self) -> None:
        self.server.blobs[self.path.rsplit("/", 1)[1]] = self._begin()
        self._answer({})

    def do_GET(self) -> None:
        self._begin()
        path = unquote(urlparse(self.path).path)
        if found := re.match(r"/api/(model|space|dataset)s/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            kind, name, call, revision = found.groups()
            return self._information(kind, name, call, revision or "main")
        if found := re.match(r"/(?:(space|dataset)s/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            kind, name, revision, file = found.groups()
            return self._file(kind or "model", name, revision, file)
        return self._answer({"error": "unknown call"}, 404)

    do_HEAD = do_GET

    def _begin(self) -> bytes:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _create(self, asked: dict[str, Any]) -> None:
        kind, name = asked.get("type") or "model", f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.server.url}/{'' if kind == 'model' else kind + 's/'}{name}"}
        if (kind, name) in self.server.repositories:
            return self._answer({"error": "You already created this repo", **url}, 409)
        repository = Repository(asked.get("visibility") == "private", asked.get("sdk"))
        repository.add("initial commit", {".gitattributes": b""})
        self.server.repositories[kind, name] = repository
        return self._answer(url)

    def _preupload(self, asked: dict[str, Any]) -> None:
        def mode(path: str) -> str:
            return "lfs" if path.endswith(".safetensors") else "regular"

        files = [
            {"path": one["path"], "uploadMode": mode(one["path"]), "shouldIgnore": False} for one in asked["files"]
        ]
        self._answer({"files": files})

    def _batch(self, asked: dict[str, Any]) -> None:
        actions = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}", "header": {}}}}
            for one in asked["objects"]
        ]
        self._answer({"transfer": "basic", "objects": actions})

    def _commit(self, kind: str, name: str, body: bytes) -> None:
        repository = self.server.repositories[kind, name]
        files, message = dict(repository.commits[-1][2]), ""
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            else:
                files.pop(value["path"])
        oid = repository.add(message, files)
        self._answer({"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid, "pullRequestUrl": None})

    def _information(self, kind: str, name: str, call: str | None, revision: str) -> None:
        repository = self.server.repositories.get((kind, name))
        found = repository.at(revision) if repository else None
        if found is None:
            return self._missing("RevisionNotFound" if repository else "RepoNotFound")
        oid, files = found
        if call == "tree":
            blobs = [
                {"type": "file", "path": path, "size": len(text), "oid": hashlib.sha1(text).hexdigest()}
                for path, text in sorted(files.items())
            ]
            return self._answer(blobs)
        siblings = [{"rfilename": path} for path in files]
        about = {"id": name, "sha": oid, "private": repository.private, "siblings": siblings, "tags": []}
        return self._answer(about)

    def _file(self, kind: str, name: str, revision: str, file: str) -> None:
        repository = self.server.repositories.get((kind, name))
        found = repository.at(revision) if repository else None
        if found is None:
            return self._missing("RevisionNotFound" if repository else "RepoNotFound")
        oid, files = found
        if file not in files:
            return self._missing("EntryNotFound", X_Repo_Commit=oid)
        etag = f'"{hashlib.sha256(files[file]).hexdigest()}"'
        return self._answer(files[file], ETag=etag, X_Repo_Commit=oid)

    def _missing(self, code: str, **headers: str) -> None:
        self._answer({"error": code}, 404, X_Error_Code=code, **headers)
