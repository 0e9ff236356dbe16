test_admin.o: tests/unit/test_admin.c src/doors/admin.h

src/doors/admin.h:
