import socket
import sys

import pytest

from serving.system.sockets import bytes_held


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not say")
def test_what_the_peer_has_not_taken_is_held():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.create_connection(listener.getsockname()) as connection, listener.accept()[0] as peer:
            assert bytes_held(connection) == 0
            connection.setblocking(False)
            sent = connection.send(bytes(2**20))
            before = bytes_held(connection)
            assert 0 < before <= sent
            peer.recv(sent, socket.MSG_WAITALL)
            assert bytes_held(connection) < before


def test_a_closed_socket_holds_nothing():
    with socket.socket() as closed:
        pass
    assert bytes_held(closed) == 0
