test_handover.o: tests/unit/test_handover.c src/sys/handover.h

src/sys/handover.h:
