test_zone.o: tests/unit/test_zone.c src/core/zone.h src/core/zone_rule.h

src/core/zone.h:

src/core/zone_rule.h:
