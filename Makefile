# sms3300: SMS from PostgreSQL through the 3300 gateway

EXTENSION = sms3300
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" sms3300.control)

MODULE_big = sms3300
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

# The install script of the current version is built from sql/sms3300.sql. The other
# scripts in sql/ are updates and what the regression tests run.
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA = $(filter-out $(DATA_built),$(wildcard sql/$(EXTENSION)--*.sql))
REGRESS = $(patsubst sql/%.sql,%,$(sort $(filter-out sql/$(EXTENSION)%,$(wildcard sql/*.sql))))

REGRESS_OPTS = --encoding=UTF8 --no-locale

PG_CPPFLAGS = -I$(srcdir)/src -DSMS3300_VERSION='"$(EXTVERSION)"' $(shell curl-config --cflags)
SHLIB_LINK = $(shell curl-config --libs)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(DATA_built): sql/$(EXTENSION).sql
	cp $< $@

$(OBJS): $(wildcard src/*.h src/*/*.h) sms3300.control

# Versions that were never released, for the tests of updates from them.
.PHONY: install-early
install-early:
	$(INSTALL_DATA) $(wildcard test/early/*.sql) '$(DESTDIR)$(datadir)/extension/'

# Fail if a script that was released has changed.
.PHONY: check-released
check-released: $(DATA_built)
	sh test/released.sh

# What is committed, as a zip for PGXN, whose versions have three numbers.
DISTRIBUTION = $(EXTENSION)-$(EXTVERSION).0
.PHONY: dist
dist:
	git archive --prefix=$(DISTRIBUTION)/ --output=$(DISTRIBUTION).zip HEAD

# The pictures in doc/ are drawn by graphviz.
.PHONY: doc
doc: $(patsubst %.dot,%.svg,$(wildcard doc/*.dot))
doc/%.svg: doc/%.dot
	dot -Tsvg $< -o $@
