lossy_proxy.o: tests/property/lossy_proxy.c tests/lib/random.h

tests/lib/random.h:
