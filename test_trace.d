test_trace.o: tests/unit/test_trace.c src/obs/trace.h

src/obs/trace.h:
