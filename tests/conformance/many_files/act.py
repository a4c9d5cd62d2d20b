import os


def folder():
    return os.path.join(os.environ["DATA"], "many")


def make(n):
    os.mkdir(folder())
    for i in range(int(n)):
        with open(os.path.join(folder(), f"{i}"), "w") as file:
            file.write(f"{i}")
    return {"count": int(n)}


def look(n):
    right = 0
    for entry in os.scandir(folder()):
        with open(entry.path) as file:
            right += file.read() == entry.name
    return {"count": right}


def clear(n):
    for entry in os.scandir(folder()):
        os.unlink(entry.path)
    return {"count": len(os.listdir(folder()))}
