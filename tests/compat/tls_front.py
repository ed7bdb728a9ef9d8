"""TLS for a daemon that has none, with a certificate authority of its own: old clients know only
https://api.<domain> and https://<port>-<sandbox>.<domain>."""
import pathlib
import socket
import ssl
import subprocess
import threading

DOMAIN = "sandpit.localhost"  # no certificate may be for *.localhost


def make_certificate(folder):
    """ca.pem to trust, and front.pem with its key, for names below DOMAIN."""
    folder = pathlib.Path(folder)

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-days", "2", "-subj", "/CN=sandpit compatibility tests")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "front.key", "-out", "front.csr",
            "-subj", "/CN=localhost")
    (folder / "names").write_text(f"subjectAltName=DNS:*.{DOMAIN}\n")
    openssl("x509", "-req", "-in", "front.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "front.pem")
    return folder / "ca.pem"


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for s in (source, target):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Front:
    """Listens on loopback; the name that a client asks for decides between API and proxy."""

    def __init__(self, folder, api_port, proxy_port):
        self.ports = {True: api_port, False: proxy_port}
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(f"{folder}/front.pem", f"{folder}/front.key")
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.sni_callback = self.on_name
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @staticmethod
    def on_name(connection, name, context):
        connection.asked_for = name or ""

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            client = self.context.wrap_socket(client, server_side=True)
            is_api = getattr(client, "asked_for", "").startswith("api.")
            upstream = socket.create_connection(("127.0.0.1", self.ports[is_api]))
        except OSError:
            client.close()
            return
        threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
        pump(upstream, client)
        client.close()
        upstream.close()
