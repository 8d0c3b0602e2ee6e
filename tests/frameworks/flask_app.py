"""Flask with Flask-Session in Isogrid. PORT and SERVERS are in the environment, and REFRESH = 1 if
each request is to write the session; or STORE = isogrid.flask, and SERVERS are native ports."""

import os
import time
from pathlib import Path

from flask import Flask, jsonify, request, session
from flask_session import Session
from pymemcache import HashClient

app = Flask(__name__)
app.config.update(
    SESSION_TYPE="memcached",
    SESSION_MEMCACHED=HashClient(
        os.environ["SERVERS"].split(","),
        default_noreply=False,
        retry_attempts=0,
        dead_timeout=2,
        connect_timeout=1,
        timeout=6,
    ),
    SESSION_REFRESH_EACH_REQUEST="REFRESH" in os.environ,
)
if "STORE" in os.environ:
    from isogrid.flask import GridSessions

    app.session_interface = GridSessions("isogrid://" + os.environ["SERVERS"], owner="user")
else:
    Session(app)


def hold(path):
    """Stays until the file that it makes is gone."""
    if path:
        Path(path).touch()
        while Path(path).exists():
            time.sleep(0.01)


@app.get("/<what>")
def view(what):
    hold(request.args.get("hold"))  # The session is loaded before the view is called.
    if what == "login":
        app.session_interface.regenerate(session)
        session["user"] = "ann"
    elif what == "put":
        session[request.args["name"]] = 1
    elif what == "count":
        session["n"] = session.get("n", 0) + 1
    elif what == "logout":
        session.clear()
    elif what == "everywhere":
        app.session_interface.log_out_everywhere("ann", keep=session)
    return jsonify({key: value for key, value in session.items() if key != "_permanent"})


app.run("127.0.0.1", int(os.environ["PORT"]), threaded=False)
