prop_resume.o: tests/property/prop_resume.c \
  tests/property/../unit/resume_fixture.h src/sys/clock.h \
  src/sys/mapfile.h src/table/lease.h src/table/table.h \
  src/core/instant.h src/core/key.h src/core/limit.h src/table/mapping.h \
  src/core/grant.h src/core/saturate.h src/core/share.h src/core/gcra.h \
  src/table/entry.h src/table/owners.h src/table/resume.h \
  tests/lib/random.h src/table/pair.h

tests/property/../unit/resume_fixture.h:

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

tests/lib/random.h:

src/table/pair.h:
