import os


def write(folder):
    path = os.path.join(folder, "was-here")
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)
    return {"through": True}
