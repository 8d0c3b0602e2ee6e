"""Django's cache sessions, but a session that cannot be read is an error and nobody's logout."""

from django.contrib.sessions.backends import cache


class SessionStore(cache.SessionStore):
    def load(self):
        data = self._cache.get(self.cache_key)
        if data is None:
            self._session_key = None
        return data or {}
