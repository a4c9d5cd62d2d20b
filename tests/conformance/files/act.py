import fcntl
import mmap
import os
import sqlite3


def place(name):
    return os.path.join(os.environ["DATA"], name)


def use():
    done = {}
    with open(place("a"), "wb") as file:
        file.write(b"word")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(os.environ["DATA"], os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    done["synced"] = True
    os.rename(place("a"), place("b"))
    done["renamed"] = not os.path.exists(place("a")) and open(place("b")).read() == "word"
    os.link(place("b"), place("c"))
    done["linked"] = os.stat(place("c")).st_nlink == 2
    os.symlink("b", place("d"))
    done["symlinked"] = open(place("d")).read() == "word"
    with open(place("lock"), "w") as first, open(place("lock"), "w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            done["locked"] = False
        except BlockingIOError:
            done["locked"] = True
    with open(place("map"), "w+b") as file:
        file.truncate(1 << 16)
        with mmap.mmap(file.fileno(), 0) as memory:
            memory[100:104] = b"seen"
            memory.flush()
        file.seek(100)
        done["mapped"] = file.read(4) == b"seen"
    with open(place("sparse"), "wb") as file:
        file.seek(1 << 30)
        file.write(b"x")
    os.chmod(place("b"), 0o640)
    done["permissions"] = os.stat(place("b")).st_mode & 0o777 == 0o640
    with sqlite3.connect(place("rows.db")) as database:
        done["sqlite"] = database.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        database.execute("CREATE TABLE t (n INTEGER)")
        database.executemany("INSERT INTO t VALUES (?)", ((n,) for n in range(1000)))
    return done


def rows():
    with sqlite3.connect(place("rows.db")) as database:
        return {"rows": database.execute("SELECT count(*) FROM t").fetchone()[0]}


def list():
    return {"names": os.listdir(os.environ["DATA"])}


def take(path):
    with open(path, "rb") as file:
        return {"through": file.read(6) == b"SQLite"}
