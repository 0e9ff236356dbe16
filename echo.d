echo.o: bench/echo.c include/mete/wire.h include/mete/mac.h \
  include/mete/registry.h include/mete/wire_time.h src/net/io.h \
  src/net/socket.h src/net/xdp.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/net/io.h:

src/net/socket.h:

src/net/xdp.h:
