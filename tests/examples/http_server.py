# A server for those who fetch, on a port that the kernel chose, which it prints. What it answers is
# in the path:
#   /bytes/N      N bytes
#   /close/N      N bytes, and closes the connection afterwards
#   /cut/N        announces N bytes, sends half of them and closes
#   /together/N/x waits until N of these are there (no more than ten seconds)
#   anything else 404
import http.server
import threading

gate = threading.Condition()
waiting = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global waiting
        parts = self.path.strip("/").split("/")
        size = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        status = 200
        if parts[0] == "together":
            with gate:
                waiting += 1
                gate.notify_all()
                if not gate.wait_for(lambda: waiting >= size, 10):
                    status = 504
        elif parts[0] not in ("bytes", "close", "cut"):
            status, size = 404, 0
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        if parts[0] in ("close", "cut"):
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"x" * (size // 2 if parts[0] == "cut" else size))

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
