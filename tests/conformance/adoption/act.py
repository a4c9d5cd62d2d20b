import threading

COUNT = []
LOCK = threading.Lock()


def count():
    with LOCK:
        COUNT.append(1)
        print("count", len(COUNT), flush=True)
        return {"count": len(COUNT)}


def count_later(n):
    """Goes on counting after it has answered."""
    def go_on():
        for _ in range(int(n)):
            count()
            threading.Event().wait(0.001)
    threading.Thread(target=go_on).start()
    return {}
