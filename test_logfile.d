test_logfile.o: tests/unit/test_logfile.c src/cmd/logfile.h

src/cmd/logfile.h:
