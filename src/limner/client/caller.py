"""A typed client of the service: `limner.Client`.

It knows HTTP and pictures and nothing of models, so it stands on the ground floor and runs
where limner's heavy parts are not wanted. Needs ``pip install 'limner[studio]'`` (httpx).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from limner import errors
from limner.client import answers
from limner.client.answers import (
    Calibrated,
    ClassifiedItem,
    Comparison,
    Enrolment,
    ExcitedUnit,
    ForgottenPerson,
    JobState,
    Known,
    KnownPhoto,
    NamedModel,
    PhotoAnswer,
    Ranked,
    Recognised,
    ServiceInfo,
    Verification,
)
from limner.client.transport import Transport
from limner.client.wire import Upload, as_many, box_text, error_of, id_of
from limner.errors import ServiceError
from limner.types import BoxXYXY, Face

Pick = Literal["one", "largest"]


class Client(Transport):
    """Speaks with a running service.

    Args:
        address: Such as ``http://127.0.0.1:8000``.
        key: The API key, where the service asks for one.
        timeout_s: For one request.
        patience_s: How long a busy service (429, 503) is asked again, as it says when.

    Raises:
        MissingExtraError: If httpx is not installed.
    """

    # --- faces -------------------------------------------------------------------------

    def detect(self, photo: Upload) -> PhotoAnswer[Face]:
        """Find the faces of a photo.

        Args:
            photo: What `limner.images.read` takes: a path, bytes, a binary file object, an
                array or a Pillow image; it is uploaded.

        Raises:
            ImageError: If it is not a readable picture.
            ServiceError: If the service refuses, or cannot be reached. So do all others.
        """
        return answers.photo(self._post("/v1/detect", {"photo": photo}), answers.face)

    def embed(self, photo: Upload) -> PhotoAnswer[Face]:
        """Find the faces of a photo, with their embeddings."""
        found = self._post("/v1/embed", {"photo": photo})
        return answers.photo(found, lambda one: answers.face(one, found["embedder_id"]))

    def compare(
        self,
        a: Upload,
        b: Upload,
        *,
        pick: Pick = "one",
        box_a: BoxXYXY | None = None,
        box_b: BoxXYXY | None = None,
        threshold: float | None = None,
        accept_unclear: bool = False,
    ) -> Comparison:
        """Tell whether two photos show the same person.

        Args:
            a: A photo.
            b: Another.
            pick: Which face of a photo: ``one`` (there must be exactly one) or ``largest``.
            box_a: The face in this box of `a`.
            box_b: Same of `b`.
            threshold: Another tau than the calibrated one.
            accept_unclear: Judge faces that are too poor for it, too, instead of saying so.

        Raises:
            FaceCountError: If a photo shows no face, or several and nothing says which.
        """
        form = {
            "pick": pick,
            "box_a": box_text(box_a),
            "box_b": box_text(box_b),
            "threshold": threshold,
            "accept_unclear": accept_unclear,
        }
        return answers.comparison(self._post("/v1/compare", {"a": a, "b": b}, form))

    def identify(
        self, photo: Upload, *, threshold: float | None = None, accept_unclear: bool = False
    ) -> PhotoAnswer[Recognised]:
        """Tell of every face who it is, the largest first; options as in `compare`."""
        form = {"threshold": threshold, "accept_unclear": accept_unclear}
        found = self._post("/v1/identify", {"photo": photo}, form)
        return answers.photo(found, answers.recognised)

    def verify(
        self,
        name: str,
        photo: Upload,
        *,
        pick: Pick = "one",
        box: BoxXYXY | None = None,
        threshold: float | None = None,
        accept_unclear: bool = False,
    ) -> Verification:
        """Tell whether a photo shows one particular person; options as in `compare`.

        Raises:
            UnknownNameError: If there is no such person.
        """
        form = {
            "name": name,
            "pick": pick,
            "box": box_text(box),
            "threshold": threshold,
            "accept_unclear": accept_unclear,
        }
        return answers.verification(self._post("/v1/verify", {"photo": photo}, form))

    def lookalike(
        self, photo: Upload, *, top: int = 5, pick: Pick = "one", box: BoxXYXY | None = None
    ) -> list[Ranked]:
        """Return the people who look most alike, nearest first."""
        form = {"top": top, "pick": pick, "box": box_text(box)}
        found = self._post("/v1/lookalike", {"photo": photo}, form)
        return [Ranked(**one) for one in found["people"]]

    # --- people ------------------------------------------------------------------------

    def people(self) -> list[Known]:
        """Return everybody, by name."""
        found: list[Known] = []
        while True:
            query = {"offset": len(found), "limit": 1_000}
            page = self._ask("GET", "/v1/people", params=query)
            found += [Known(**one) for one in page["people"]]
            if len(found) >= page["count"] or not page["people"]:
                return found

    def person(self, name: str) -> Known:
        """Return one person.

        Raises:
            UnknownNameError: If there is none of that name.
        """
        found = self._ask("GET", "/v1/people", params={"name": name})["people"]
        if not found:
            raise errors.UnknownNameError(f"nobody in the gallery is called {name!r}.")
        return Known(**found[0])

    def enroll(
        self,
        name: str,
        photos: Upload | Sequence[Upload],
        *,
        note: str | None = None,
        pick: Pick = "one",
        box: BoxXYXY | None = None,
        force: bool = False,
    ) -> Enrolment:
        """Enrol somebody from photos; a person of that name gets more photos.

        Args:
            name: The person.
            photos: One or several.
            note: Replaces the person's note.
            pick: Which face of a photo: ``one`` (there must be exactly one) or ``largest``.
            box: The face in this box.
            force: Take photos that are too poor to be recognised by.
        """
        many = as_many(photos)
        form = {
            "name": name,
            "note": note,
            "pick": pick,
            "box": box_text(box),
            "force": force or None,
        }
        return answers.enrolment(self._post("/v1/people", {"photos": many}, form))

    def photos(self, name: str) -> list[KnownPhoto]:
        """Return the enrolled photos of a person; the pictures themselves are not kept."""
        found = self._ask("GET", f"/v1/people/{self.person(name).id}")
        return [KnownPhoto(**one) for one in found["enrolled"]]

    def remove_photo(self, name: str, photo_id: int) -> int:
        """Remove one enrolled photo; return how many are left."""
        where = f"/v1/people/{self.person(name).id}/photos/{photo_id}"
        return int(self._ask("DELETE", where)["photos"])

    def rename(self, name: str, new: str) -> Known:
        """Give a person another name.

        Raises:
            NameTakenError: If somebody else has it: then merge them.
        """
        where = f"/v1/people/{self.person(name).id}"
        return Known(**self._ask("PATCH", where, body={"name": new}))

    def set_note(self, name: str, note: str) -> Known:
        """Replace a person's note."""
        where = f"/v1/people/{self.person(name).id}"
        return Known(**self._ask("PATCH", where, body={"note": note}))

    def merge(self, name: str, into: str) -> Known:
        """Make two people one, under the second name."""
        target = self.person(into).id
        where = f"/v1/people/{self.person(name).id}/merge"
        return Known(**self._ask("POST", where, body={"into": target}))

    def forget(self, name: str) -> ForgottenPerson:
        """Delete a person for good."""
        return answers.forgotten(self._ask("DELETE", f"/v1/people/{self.person(name).id}"))

    def calibrate(self, *, false_match_rate: float = 1e-3) -> Calibrated:
        """Fit the gallery's own threshold to the enrolled photos; needs the scope admin."""
        body = {"false_match_rate": false_match_rate}
        return Calibrated(**self._ask("POST", "/v1/calibrate", body=body))

    def reset_calibration(self) -> None:
        """Go back to the thresholds that limner ships; needs the scope admin."""
        self._ask("DELETE", "/v1/calibrate")

    # --- jobs --------------------------------------------------------------------------

    def style(
        self,
        content: Upload,
        styles: Upload | Sequence[Upload] = (),
        *,
        method: Literal["optimise", "fast"] = "optimise",
        **options: Any,
    ) -> JobState:
        """Queue a painting; follow it with `wait` or `events`, fetch it with `result`.

        Args:
            content: The photo to paint.
            styles: One painting or several; none where ``look`` names a built-in style.
            method: ``optimise`` takes minutes, ``fast`` a second.
            options: ``look``, ``preset``, ``size``, ``strength``, ``colour``, ``style_scale``,
                ``steps``, ``seed``; the service says which values are allowed.
        """
        many = as_many(styles)
        files: dict[str, Any] = {"content": content, **({"styles": many} if many else {})}
        return JobState(**self._post("/v1/style", files, {"method": method, **options}))

    def job(self, job: str | JobState) -> JobState:
        """Tell how far a job is."""
        return JobState(**self._ask("GET", f"/v1/jobs/{id_of(job)}"))

    def jobs(self) -> list[JobState]:
        """Return the jobs of this key, the newest first."""
        return [JobState(**one) for one in self._ask("GET", "/v1/jobs")["jobs"]]

    def events(self, job: str | JobState) -> Iterator[JobState]:
        """Yield the states of a job as they change, until it ends or the service stops."""
        import httpx

        try:
            with self._http.stream("GET", f"/v1/jobs/{id_of(job)}/events", timeout=60.0) as stream:
                if stream.status_code != 200:
                    stream.read()
                    raise error_of(stream)
                for line in stream.iter_lines():
                    if line.startswith("data: "):
                        yield JobState(**json.loads(line[6:]))
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def wait(self, job: str | JobState) -> JobState:
        """Wait until a job has ended, and return how.

        Raises:
            ServiceError: If it failed, was cancelled or was lost; the message says why.
        """
        while True:
            for state in self.events(job):
                if state.status == "done":
                    return state
                if not state.is_open:
                    raise ServiceError(f"the job {state.status}: {state.message}.", kind="Job")
            time.sleep(0.5)

    def preview(self, job: str | JobState) -> bytes:
        """Return the picture as it forms, a small JPEG."""
        return self._send("GET", f"/v1/jobs/{id_of(job)}/preview").content

    def result(self, job: str | JobState) -> bytes:
        """Return the finished picture, a PNG."""
        return self._send("GET", f"/v1/jobs/{id_of(job)}/result").content

    def cancel(self, job: str | JobState) -> JobState:
        """Ask a job to end."""
        return JobState(**self._ask("POST", f"/v1/jobs/{id_of(job)}/cancel"))

    def delete_job(self, job: str | JobState) -> None:
        """Cancel a job and delete everything of it."""
        self._ask("DELETE", f"/v1/jobs/{id_of(job)}")

    # --- models and units --------------------------------------------------------------

    def models(self) -> list[NamedModel]:
        """Return the classifiers and patches that the service was started with."""
        return [NamedModel(**one) for one in self._ask("GET", "/v1/models")["models"]]

    def classify(
        self,
        model: str,
        file: Upload,
        *,
        top: int = 5,
        maps: bool = False,
        pick: Pick = "one",
        box: BoxXYXY | None = None,
    ) -> list[ClassifiedItem]:
        """Ask a trained classifier about a photo, about series or about a volume.

        Args:
            model: As `models` lists it.
            file: Its name's ending says what it is; give a path, not bytes, for series and
                volumes.
            top: How many classes are named.
            maps: Whether class maps come along.
            pick: Which face of a photo.
            box: The face in this box.
        """
        form = {
            "model": model,
            "top": top,
            "maps": maps,
            "pick": pick,
            "box": box_text(box),
        }
        found = self._post("/v1/classify", {"file": file}, form)
        return [answers.classified(one) for one in found["items"]]

    def units(
        self,
        photo: Upload,
        *,
        network: str = "vgg16",
        layer: str | None = None,
        patches: str | None = None,
        count: int = 12,
    ) -> list[ExcitedUnit]:
        """Return the units of a layer that a picture excites most.

        Args:
            photo: A picture.
            network: Which network.
            layer: One of its layers.
            patches: Patches of the service's models folder: then units are compared with what
                photos do to them.
            count: How many.
        """
        form = {"network": network, "layer": layer, "patches": patches, "count": count}
        found = self._post("/v1/units", {"photo": photo}, form)
        return [ExcitedUnit(**one) for one in found["units"]]

    # --- the service -------------------------------------------------------------------

    def info(self) -> ServiceInfo:
        """Return what the service holds and what its limits are."""
        return ServiceInfo(**self._ask("GET", "/v1/info"))

    def is_ready(self) -> bool:
        """Tell whether photos can be answered now; False where nobody answers."""
        import httpx

        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False
