test_socket.o: tests/unit/test_socket.c src/net/socket.h

src/net/socket.h:
