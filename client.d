client.o: bench/client.c include/mete/client.h src/obs/histogram.h

include/mete/client.h:

src/obs/histogram.h:
