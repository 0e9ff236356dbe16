test_io_pause.o: tests/unit/test_io_pause.c src/net/io.h src/net/socket.h

src/net/io.h:

src/net/socket.h:
