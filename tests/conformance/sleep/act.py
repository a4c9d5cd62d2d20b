import os

MEMORY = []


def count():
    MEMORY.append(1)
    with open(os.path.join(os.environ["DATA"], "count"), "a+") as file:
        file.write("1")
        file.seek(0)
        return {"memory": len(MEMORY), "disk": len(file.read())}
