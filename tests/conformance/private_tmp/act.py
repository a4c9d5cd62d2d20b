import os


def put(name):
    with open(f"/tmp/{name}", "w") as file:
        file.write("x")
    os.chmod(f"/tmp/{name}", 0o644)
    return {"through": True}


def find(name):
    with open(f"/tmp/{name}"):
        return {"through": True}


def clear(name):
    os.unlink(f"/tmp/{name}")
    return {"through": True}
