"""A typed client of the service: ``Client("http://127.0.0.1:8000").identify("party.jpg")``.

It knows HTTP and pictures and nothing of models.
"""

from limner.client.answers import JobState, PhotoAnswer, Recognised
from limner.client.caller import Client

__all__ = ["Client", "JobState", "PhotoAnswer", "Recognised"]
