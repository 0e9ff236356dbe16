xdp_load.o: bench/xdp_load.c src/sys/clock.h bench/xdp/circulate.h

src/sys/clock.h:

bench/xdp/circulate.h:
