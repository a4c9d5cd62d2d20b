def nothing():
    return {}
