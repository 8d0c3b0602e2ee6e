"""A client of Isogrid that needs nothing but Python: GNP/1, basic level.

    from isogrid import Client

    with Client("127.0.0.1:7400") as client:
        orders = client.cache("orders", {})
        orders.put("1001", b"two socks", ttl=60)
        print(orders.get("1001"))
"""

from .auth import Scram, plain, token
from .cache import Cache, Entry, Written
from .client import Call, Client
from .counters import Counters
from .errors import Conflict, Failed, IsogridError, Unknown
from .locks import Held, Lease, Locks
from .queues import Delivery, Queue, Shown
from .segment import segment_of
from .sessions import Saved, Session, Sessions
from .streams import Event, Listener
from .topics import Logged, Lost, Page, Topic
from .transaction import Condition, Executed, Step, Transaction

__all__ = [
    "Cache",
    "Call",
    "Client",
    "Condition",
    "Conflict",
    "Counters",
    "Delivery",
    "Entry",
    "Event",
    "Executed",
    "Failed",
    "Held",
    "IsogridError",
    "Lease",
    "Listener",
    "Locks",
    "Logged",
    "Lost",
    "Page",
    "Queue",
    "Saved",
    "Scram",
    "Session",
    "Sessions",
    "Shown",
    "Step",
    "Topic",
    "Transaction",
    "Unknown",
    "Written",
    "plain",
    "segment_of",
    "token",
]
