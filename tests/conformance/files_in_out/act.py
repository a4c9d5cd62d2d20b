import os

DIR = os.environ["DATA"]


def link(path):
    os.symlink(path, os.path.join(DIR, "link"))
    return {"link": os.path.join(DIR, "link")}


def look(name):
    found = os.lstat(os.path.join(DIR, name))
    return {"uid": found.st_uid, "mode": found.st_mode & 0o7777, "size": found.st_size, "own": os.getuid()}


def names():
    return {"names": os.listdir(DIR), "dir": DIR}
