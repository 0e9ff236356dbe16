client_asker.o: tests/e2e/client_asker.c include/mete/client.h

include/mete/client.h:
