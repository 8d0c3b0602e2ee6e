"""Django with its sessions in Isogrid. PORT and SERVERS are in the environment, and ENGINE if it
is another one than `django_engine`: with `isogrid.django` SERVERS are native ports."""

import json
import os
import time
from pathlib import Path
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import re_path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    CACHES={
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "sessions": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": os.environ["SERVERS"].split(","),
            "OPTIONS": {"retry_attempts": 0, "dead_timeout": 2, "connect_timeout": 1, "timeout": 6},
        },
    },
    SESSION_ENGINE=os.environ.get("ENGINE", "django_engine"),
    SESSION_CACHE_ALIAS="sessions",
    ISOGRID_SESSIONS={"URL": "isogrid://" + os.environ["SERVERS"], "OWNER": "user"},
)


def hold(path):
    """Stays until the file that it makes is gone."""
    if path:
        Path(path).touch()
        while Path(path).exists():
            time.sleep(0.01)


def view(request, what):
    session = request.session
    session.get("user")  # Sessions are loaded when they are first read.
    hold(request.GET.get("hold"))
    if what == "login":
        session.cycle_key()
        session["user"] = "ann"
    elif what == "put":
        session[request.GET["name"]] = 1
    elif what == "count":
        session["n"] = session.get("n", 0) + 1
    elif what == "logout":
        session.flush()
    elif what == "everywhere":
        from isogrid.django import log_out_everywhere

        log_out_everywhere("ann", keep=session)
    return JsonResponse(dict(session.items()))


urlpatterns = [re_path("^(login|put|show|count|logout|everywhere)$", view)]
django.setup()
make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application()).serve_forever()
