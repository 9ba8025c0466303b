"""The audit finds a leak that is there, leaves the honest alone, and says so in words."""

import numpy as np

from modeling_macbdf.data.records import ClipRecord
from modeling_macbdf.evaluation.overlap import identity_overlap, people_hashes, training_people, write_training_people
from modeling_macbdf.evaluation.probes import FEATURE_PROBES, audit, warnings

PEOPLE = 32


def rows(leak: float, model: float, seed: int = 0, names: tuple[str, ...] = ("metadata",)) -> list[dict]:
    """Two clips a person; durations tell the label by `leak`, the model's scores by `model`, all else is noise."""
    random = np.random.default_rng(seed)
    found = []
    for i in range(2 * PEOPLE):
        label = i // 2 % 2
        noise = {name: {"x": float(random.random()), "word": random.choice(["a", "b"])} for name in names}
        noise["metadata"]["duration_s"] = float(random.normal() + leak * label)
        row = {"label": label, "p_fake": float(1 / (1 + np.exp(-random.normal() - model * label)))}
        row["generator"] = "g" if label else ""
        row |= {
            "features": noise,
            "masked": {"face_masked": float(random.normal())},
            "generator": "g" if label else "",
        }
        found.append(row | {"source": "" if label else "s", "identity": str(i // 2), "status": "scored"})
    return found


def groups() -> list[int]:
    return [i // 2 for i in range(2 * PEOPLE)]


def test_a_leak_is_found_and_warned_of_while_noise_is_not():
    probes = audit(rows(leak=4.0, model=3.0, names=tuple(FEATURE_PROBES)), groups(), resamples=50)
    assert probes["metadata"]["auc"] > 0.95
    assert probes["metadata"]["near"]
    low, high = probes["metadata"]["interval"]
    assert low <= probes["metadata"]["auc"] <= high
    for name in ("silence", "mean_colour", "brightness", "background", "face_masked"):
        assert probes[name]["auc"] < 0.75, name
        assert not probes[name]["near"]
    sentences = warnings(probes)
    assert len(sentences) == 1
    assert sentences[0].startswith("metadata: extra trees on what the container declares")
    assert "AUC" in sentences[0]


def test_beside_a_weak_model_a_probe_is_warned_of_where_it_tells_something():
    """Every probe of a weak model was warned of, though it told nothing itself."""
    leaking = audit(rows(leak=2.0, model=0.0), groups(), resamples=10)["metadata"]
    assert leaking["model_auc"] < 0.65
    assert leaking["near"]
    flat = rows(leak=0.0, model=0.0)
    for row in flat:
        row["masked"] = {"face_masked": 0.0}
    probe = audit(flat, groups(), resamples=10)["face_masked"]
    assert (probe["auc"], probe["near"]) == (0.5, False)
    far = audit(rows(leak=0.0, model=3.0), groups(), resamples=10)["metadata"]
    assert not far["near"]


def test_the_sound_alone_is_no_probe_of_files_without_a_picture():
    """It is the model's own answer there, and the card once warned that the probe comes near the model."""
    table = rows(leak=0.0, model=2.0)
    for row in table:
        row["masked"] = {"audio_only": float(np.log(row["p_fake"] / (1 - row["p_fake"])))}
    assert audit(table, groups(), resamples=10)["audio_only"]["near"]
    for row in table:
        row["status"] = "no_video"
    probe = audit(table, groups(), resamples=10)["audio_only"]
    assert (probe["auc"], probe["clips"], probe["near"]) == (None, 0, False)


def test_people_are_kept_apart():
    """A feature that only names the person tells the label of clips seen in training, and nothing of strangers."""
    table = rows(leak=0.0, model=0.0)
    for row in table:
        row["features"] = {"metadata": {"name": row["identity"]}}
    assert audit(table, groups(), resamples=10)["metadata"]["auc"] < 0.6


def test_an_opposite_direction_does_not_become_a_score():
    """A masked probe is the model itself: scoring reals above fakes is not turned round."""
    table = rows(leak=0.0, model=2.0)
    for row in table:
        row["masked"] = {"face_masked": -float(row["label"])}
    assert audit(table, groups(), resamples=10)["face_masked"]["auc"] == 0.0


def test_what_cannot_be_probed_says_why():
    table = [row for row in rows(leak=0.0, model=1.0) if row["label"] == 0]
    probes = audit(table, list(range(len(table))), resamples=10)
    assert probes["metadata"]["auc"] is None
    assert "real and fake" in probes["metadata"]["reason"]
    assert probes["audio_only"]["auc"] is None
    assert warnings(probes) == []


def record(*people: str, dataset: str = "d") -> ClipRecord:
    return ClipRecord(f"{'-'.join(people)}.mp4", 0, 0, 0, identities=people, dataset=dataset)


def test_shared_people_are_counted_and_warned_of(tmp_path):
    write_training_people(tmp_path, [record("ann"), record("bob", "eve")])
    overlap = identity_overlap([record("eve", "zoe"), record("ann"), record("kim")], training_people(str(tmp_path)))
    assert overlap == {"people": 4, "shared_people": 2, "shared_clips": 2, "clips_without_names": 0}
    assert "2 of 4 people" in warnings({"identity_overlap": overlap})[0]
    assert "ann" not in (tmp_path / "training_people.json").read_text()


def test_the_same_name_in_another_dataset_is_another_person():
    assert people_hashes(record("ann")) != people_hashes(record("ann", dataset="e"))


def test_a_name_with_a_namespace_is_the_same_person_everywhere(tmp_path):
    """A person of VoxCeleb2 who was trained on in one dataset was once new in another."""
    write_training_people(tmp_path, [record("voxceleb2:id00017", dataset="fakeavceleb")])
    tested = [record("voxceleb2:id00017", dataset="av_deepfake1m")]
    assert identity_overlap(tested, training_people(str(tmp_path)))["shared_people"] == 1


def test_a_model_that_does_not_say_is_unknown_not_clean(tmp_path):
    overlap = identity_overlap([record("ann")], training_people(str(tmp_path)))
    assert overlap["shared_people"] is None
    assert "does not say" in overlap["reason"]
    assert warnings({"identity_overlap": overlap}) == []
