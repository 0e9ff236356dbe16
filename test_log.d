test_log.o: tests/unit/test_log.c src/obs/log.h

src/obs/log.h:
