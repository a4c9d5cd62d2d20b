//! The tables, and how an older file becomes a newer one.
//!
//! `PRAGMA user_version` counts the steps already taken. A step is never changed once released; a new one is
//! appended. A new [`EventKind`](crate::EventKind) or [`Wanted`](crate::Wanted) is a new step too (an empty
//! one will do), so that an older program refuses the file instead of meeting a word it does not know.

use rusqlite::Connection;

/// The version that this program writes.
pub(crate) const VERSION: usize = STEPS.len();

/// Each step, in order.
const STEPS: &[&str] = &[
    "
    CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('epoch', 0), ('log_head', 0), ('next_base', 268435456);

    -- Rows are never removed: a range belongs to its name for ever.
    CREATE TABLE id_range (
        name TEXT PRIMARY KEY,
        base INTEGER NOT NULL UNIQUE
    ) STRICT, WITHOUT ROWID;

    -- `name` becomes NULL when the instance is forgotten; the row goes when its lines are gone.
    CREATE TABLE instance (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        name     TEXT UNIQUE,
        wanted   TEXT NOT NULL,
        level    TEXT,
        record   TEXT,
        restarts INTEGER NOT NULL DEFAULT 0,
        wakes    INTEGER NOT NULL DEFAULT 0,
        failed   TEXT,
        updated  INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE event (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        time     INTEGER NOT NULL,
        instance TEXT,
        kind     TEXT NOT NULL,
        cause    TEXT NOT NULL,
        detail   TEXT,
        request  TEXT
    ) STRICT;
    CREATE INDEX event_instance ON event (instance);

    -- Which line comes next from one set of walls.
    CREATE TABLE stream (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        instance INTEGER NOT NULL,
        key      TEXT NOT NULL,
        next     INTEGER NOT NULL,
        UNIQUE (instance, key)
    ) STRICT;

    -- `id` is the cursor. `line` is TEXT where it is UTF-8, else a BLOB.
    CREATE TABLE log (
        id       INTEGER PRIMARY KEY,
        instance INTEGER NOT NULL,
        seq      INTEGER NOT NULL,
        time     INTEGER NOT NULL,
        output   INTEGER NOT NULL,
        line     ANY NOT NULL
    ) STRICT;
    CREATE INDEX log_instance ON log (instance);

    CREATE TABLE log_usage (
        instance INTEGER PRIMARY KEY,
        bytes    INTEGER NOT NULL,
        rows     INTEGER NOT NULL
    ) STRICT;
",
    "
    -- Events of the kind `start_failed`.
",
    "
    -- Events of the kinds `deployed`, `deploy_failed`, `routed`.
    CREATE TABLE version (
        name     TEXT PRIMARY KEY,
        weight   INTEGER NOT NULL CHECK (weight BETWEEN 0 AND 100),
        deployed INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Requests that waited, failed, were slow or refused. Times in microseconds.
    CREATE TABLE request (
        id        INTEGER PRIMARY KEY AUTOINCREMENT,
        request   TEXT NOT NULL,
        time      INTEGER NOT NULL,
        instance  TEXT,
        method    TEXT NOT NULL,
        path      TEXT NOT NULL,
        status    INTEGER NOT NULL,
        error     TEXT,
        waited    INTEGER NOT NULL,
        total     INTEGER NOT NULL,
        bytes_in  INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL,
        woke      INTEGER NOT NULL,
        retried   INTEGER NOT NULL,
        skipped   INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX request_request ON request (request);
    CREATE INDEX request_instance ON request (instance);
",
    "
    -- `hash` is the SHA-256 of the token; the token itself is nowhere.
    CREATE TABLE token (
        id        TEXT PRIMARY KEY,
        name      TEXT NOT NULL,
        scope     TEXT NOT NULL CHECK (scope IN ('admin', 'tenant')),
        tenant    TEXT CHECK ((scope = 'tenant') = (tenant IS NOT NULL)),
        hash      BLOB NOT NULL CHECK (length(hash) = 32),
        created   INTEGER NOT NULL,
        expires   INTEGER,
        last_used INTEGER,
        revoked   INTEGER
    ) STRICT, WITHOUT ROWID;

    -- `status` and `code` are NULL until the outcome is known.
    CREATE TABLE audit (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        time       INTEGER NOT NULL,
        actor      TEXT NOT NULL,
        uid        INTEGER,
        token      TEXT,
        token_name TEXT,
        address    TEXT,
        method     TEXT NOT NULL,
        path       TEXT NOT NULL,
        target     TEXT,
        request    TEXT NOT NULL,
        status     INTEGER,
        code       TEXT
    ) STRICT;
    CREATE INDEX audit_actor ON audit (actor);
",
    "
    -- Words of the captured lines. `who` is the instance's number, and `err` for standard error.
    CREATE VIRTUAL TABLE log_words USING fts5(
        who, line, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
    );

    -- Earliest and latest time among the lines whose `id >> 12` is `zone`.
    CREATE TABLE log_zone (
        zone  INTEGER PRIMARY KEY,
        first INTEGER NOT NULL,
        last  INTEGER NOT NULL
    ) STRICT;

    -- Lines up to this one are in neither of the two yet; the writer gets there in steps.
    INSERT INTO meta SELECT 'log_unindexed', CASE WHEN EXISTS (SELECT 1 FROM log) THEN value ELSE 0 END
        FROM meta WHERE key = 'log_head';
",
    "
    -- Lines that retention has removed.
    INSERT INTO meta VALUES ('log_trimmed', 0);
",
    "
    -- How far each receiver of alerts has been told. Times in microseconds.
    CREATE TABLE alert (
        hook      TEXT PRIMARY KEY,
        cursor    INTEGER NOT NULL,
        delivered INTEGER NOT NULL DEFAULT 0,
        given_up  INTEGER NOT NULL DEFAULT 0,
        failed    INTEGER NOT NULL DEFAULT 0,
        success   INTEGER,
        failure   INTEGER,
        error     TEXT
    ) STRICT, WITHOUT ROWID;
",
    "
    -- What an instance may reach outside, where the operator set it: a JSON list of rules. And events of the
    -- kinds `net_denied` and `net_policy`.
    CREATE TABLE net_policy (
        name  TEXT PRIMARY KEY,
        rules TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    -- The index of words merges 16 of its segments at a time instead of 4, which writes each word half as often,
    -- in steps all the same: what would be merged at one go waits for 64.
    INSERT INTO log_words (log_words, rank) VALUES ('automerge', 16);
    INSERT INTO log_words (log_words, rank) VALUES ('crisismerge', 64);
",
    "
    -- Requests and raw connections that an instance took, ever.
    ALTER TABLE instance ADD COLUMN requests INTEGER NOT NULL DEFAULT 0;
",
];

/// The version of a file.
pub(crate) fn version(conn: &Connection) -> rusqlite::Result<usize> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings the tables up to [`VERSION`], inside the caller's transaction.
pub(crate) fn migrate(conn: &Connection) -> rusqlite::Result<()> {
    for (done, step) in STEPS.iter().enumerate().skip(version(conn)?) {
        conn.execute_batch(step)?;
        conn.pragma_update(None, "user_version", done + 1)?;
    }
    Ok(())
}
