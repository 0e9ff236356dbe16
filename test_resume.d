test_resume.o: tests/unit/test_resume.c tests/unit/resume_fixture.h \
  src/sys/clock.h src/sys/mapfile.h src/table/lease.h src/table/table.h \
  src/core/instant.h src/core/key.h src/core/limit.h src/table/mapping.h \
  src/core/grant.h src/core/saturate.h src/core/share.h src/core/gcra.h \
  src/table/entry.h src/table/owners.h src/table/resume.h \
  src/table/pair.h

tests/unit/resume_fixture.h:

src/sys/clock.h:

src/sys/mapfile.h:

src/table/lease.h:

src/table/table.h:

src/core/instant.h:

src/core/key.h:

src/core/limit.h:

src/table/mapping.h:

src/core/grant.h:

src/core/saturate.h:

src/core/share.h:

src/core/gcra.h:

src/table/entry.h:

src/table/owners.h:

src/table/resume.h:

src/table/pair.h:
