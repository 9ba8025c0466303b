"""From a file to a verdict: every status with a made file, and one clock from the file to the timeline."""

import hashlib
import itertools
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_macbdf.evaluation.robustness import MemorySource
from modeling_macbdf.inference import Detector, UntrainedModelError, shipped_model
from modeling_macbdf.media.audio import Audio
from modeling_macbdf.media.outcomes import MediaError, Status
from modeling_macbdf.media.probe import probe
from modeling_macbdf.media.write import WriteOptions, write_clip
from modeling_macbdf.report import as_text
from modeling_macbdf.sources import FileSource
from modeling_macbdf.verdicts import Verdict

RATE = 16_000


def grey(steps: int = 100) -> np.ndarray:
    """Frames of noise without a face, at 25 Hz."""
    return np.random.default_rng(0).integers(0, 255, (steps, 96, 128, 3), np.uint8)


def test_a_talking_clip_is_scored_with_all_its_parts(detector, talking_clip):
    result = detector.detect(talking_clip)
    assert (result.status, result.reason) == ("scored", "")
    assert result.verdict in Verdict
    for p in (result.p_fake, result.p_fake_video, result.p_fake_audio):
        assert 0 <= p <= 1
    assert result.duration_s == pytest.approx(6.0, abs=0.1)
    assert len(result.sha256) == 64
    assert len(result.faces) == 1
    assert set(result.seconds) == {"decode", "faces", "model", "total"}
    assert result.seconds["total"] >= result.seconds["model"] > 0


def test_a_picture_far_from_the_prototypes_is_inconclusive_with_its_reason(talking_clip, tiny_folder):
    detector = Detector.from_pretrained(tiny_folder, device="cpu")
    bank = detector.model.macbdf.cluster_weighting.bank
    bank.counts.fill_(100)  # the untrained model of the tests has no prototypes yet
    near = detector.detect(talking_clip)
    assert set(near.distances) == {"video", "audio"}
    detector.calibration = {**detector.calibration, "fake_above": 0.0, "distance_limit": {"video": 100.0}}
    assert detector.detect(talking_clip).verdict is Verdict.FAKE
    detector.calibration["distance_limit"] = {"video": near.distances["video"] / 2}
    far = detector.detect(talking_clip)
    assert far.verdict is Verdict.INCONCLUSIVE
    assert any("picture is unlike" in note for note in far.warnings)


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such", "no/such/folder", "no/such/"])
def test_a_path_without_a_folder_is_not_looked_up_on_the_hub(name):
    with pytest.raises(ValueError, match=f"there is no folder '{name}'"):
        Detector.from_pretrained(name)


def test_timeline_covers_the_clip_in_order(detector, talking_clip):
    segments = detector.detect(talking_clip).timeline
    assert segments[0].start_s == 0.0
    assert segments[-1].end_s == pytest.approx(6.0, abs=0.2)
    for before, after in itertools.pairwise(segments):
        assert before.end_s == after.start_s


def test_the_same_file_gives_the_same_numbers_at_any_batch_size(detector, talking_clip, tiny_folder):
    one_by_one = Detector.from_pretrained(tiny_folder, device="cpu", batch_size=1).detect(talking_clip)
    assert one_by_one.p_fake == pytest.approx(detector.detect(talking_clip).p_fake, abs=1e-5)


def test_picture_without_sound_is_judged_on_the_picture(detector, talking_face, tmp_path):
    result = detector.detect(write_clip(tmp_path / "mute.mp4", talking_face[0]))
    assert result.status == "no_audio"
    assert "no audio stream" in result.reason
    assert result.p_fake == result.p_fake_video
    assert result.p_fake_audio is None


def test_silent_sound_is_no_sound_and_changes_nothing(detector, talking_face, tmp_path):
    frames, voice = talking_face
    silent = detector.detect(write_clip(tmp_path / "silent.mp4", frames, waveform=np.zeros_like(voice)))
    mute = detector.detect(write_clip(tmp_path / "mute.mp4", frames))
    assert silent.status == "no_audio"
    assert "silent" in silent.reason
    assert silent.p_fake == pytest.approx(mute.p_fake, abs=1e-6)


def test_the_pictures_own_answer_does_not_depend_on_the_sound(detector, talking_face, tmp_path):
    frames, voice = talking_face
    spoken = detector.detect(write_clip(tmp_path / "spoken.mp4", frames, waveform=voice))
    reversed_voice = detector.detect(write_clip(tmp_path / "reversed.mp4", frames, waveform=voice[::-1].copy()))
    assert spoken.p_fake_video == pytest.approx(reversed_voice.p_fake_video, abs=1e-6)
    assert spoken.p_fake_audio != reversed_voice.p_fake_audio


def test_voice_alone_is_judged_if_its_answer_is_calibrated(detector, talking_face, tmp_path):
    path = write_clip(
        tmp_path / "voice.wav", None, waveform=talking_face[1], options=WriteOptions(audio_codec="pcm_s16le")
    )
    result = detector.detect(path)
    assert result.status == "no_video"
    assert result.p_fake == result.p_fake_audio
    assert result.p_fake_video is None
    assert result.faces == ()


def test_voice_alone_is_refused_without_a_calibration_for_it(detector, talking_face, tmp_path, monkeypatch):
    path = write_clip(
        tmp_path / "voice.wav", None, waveform=talking_face[1], options=WriteOptions(audio_codec="pcm_s16le")
    )
    without = {key: value for key, value in detector.calibration.items() if key != "audio"}
    monkeypatch.setattr(detector, "calibration", without)
    result = detector.detect(path)
    assert (result.status, result.p_fake, result.verdict) == ("no_video", None, None)
    assert "does not judge a voice alone" in result.reason


def test_no_face_gives_no_number(detector, talking_face, tmp_path, monkeypatch):
    path = write_clip(tmp_path / "noise.mp4", grey(), waveform=talking_face[1])
    result = detector.detect(path)
    assert (result.status, result.p_fake, result.p_fake_audio, result.verdict) == ("no_face", None, None, None)
    assert result.reason == "no face was found in the picture; its voice can be judged alone, as a sound file"
    without = {key: value for key, value in detector.calibration.items() if key != "audio"}
    monkeypatch.setattr(detector, "calibration", without)
    assert detector.detect(path).reason == "no face was found in the picture"


@pytest.mark.parametrize(("seconds", "told"), [(12, True), (4, False)])
def test_a_clip_that_is_judged_in_part_says_so(detector, talking_face, tmp_path, seconds, told):
    """Four seconds of a face and 30 s of voice-over were "scored" without a word."""
    frames, voice = talking_face
    rest = grey(25 * seconds - len(frames))[:, :1, :1].repeat(frames.shape[1], 1).repeat(frames.shape[2], 2)
    sound = np.tile(voice, 3)[: seconds * RATE]
    path = write_clip(tmp_path / "voice-over.mp4", np.concatenate([frames, rest]), waveform=sound)
    result = detector.detect(path)
    assert result.status == "scored"
    warnings = [warning for warning in result.warnings if warning.startswith("a face is seen for 3.8 of 12.0 s")]
    assert bool(warnings) is told
    assert ("a face is seen for" in as_text(result)) is told


def test_sound_that_outlasts_the_picture_is_told_too(detector, talking_face, tmp_path):
    frames, voice = talking_face
    path = write_clip(tmp_path / "short.mp4", frames[:50], waveform=voice)
    assert "a face is seen for 2.0 of 4.0 s; the rest was not judged" in detector.detect(path).warnings


def test_the_stream_that_was_judged_of_several_is_named(detector, talking_face, tmp_path):
    import av

    plain = write_clip(tmp_path / "plain.mkv", talking_face[0], waveform=talking_face[1])
    assert not any("streams" in warning for warning in detector.detect(plain).warnings)
    path = tmp_path / "two.mkv"
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        copies = {s.index: [out.add_stream_from_template(s)] for s in source.streams}
        copies[1].append(out.add_stream_from_template(source.streams[1]))
        for packet in source.demux():
            times = packet.pts, packet.dts, packet.time_base
            for copy in copies[packet.stream.index] if packet.size else ():
                packet.stream = copy
                packet.pts, packet.dts, packet.time_base = times
                out.mux(packet)
    warnings = detector.detect(path).warnings
    assert "it has 2 audio streams: number 1 of the file, counted from 0, was judged" in warnings
    assert not any("video streams" in warning for warning in warnings)


def test_a_glimpse_of_a_face_is_too_short(detector, talking_face, tmp_path):
    frames = np.concatenate([talking_face[0][:10], np.zeros_like(talking_face[0][:40])])
    result = detector.detect(write_clip(tmp_path / "glimpse.mp4", frames))
    assert (result.status, result.p_fake) == ("too_short", None)
    assert "0.8 s are needed" in result.reason


def damaged(path, clip):
    content = bytearray(clip.read_bytes())
    content[len(content) // 10 :] = os.urandom(len(content) - len(content) // 10)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "statuses"),
    [
        ("absent.mp4", lambda path, clip: None, {"missing"}),
        ("empty.mp4", lambda path, clip: path.touch(), {"not_media"}),
        ("letter.mp4", lambda path, clip: path.write_text("Dear editor, " * 500), {"not_media"}),
        ("folder.mp4", lambda path, clip: path.mkdir(), {"not_media"}),
        ("pipe.mp4", lambda path, clip: os.mkfifo(path), {"not_media"}),
        ("damaged.mp4", damaged, {"undecodable", "not_media"}),
        ("cut.mp4", lambda path, clip: path.write_bytes(clip.read_bytes()[:2000]), {"undecodable", "not_media"}),
    ],
)
def test_what_cannot_be_read_has_a_status_a_reason_and_no_number(
    detector, talking_clip, tmp_path, name, make, statuses
):
    make(tmp_path / name, talking_clip)
    result = detector.detect(tmp_path / name)
    assert result.status in statuses
    assert result.reason
    assert (result.p_fake, result.verdict, result.faces, result.timeline) == (None, None, (), ())


def test_too_long_and_too_large_are_refused_by_their_limit(tiny_folder, talking_clip):
    strict = Detector.from_pretrained(tiny_folder, device="cpu", max_duration_s=2.0)
    result = strict.detect(talking_clip)
    assert (result.status, result.p_fake) == ("too_long", None)
    assert "2" in result.reason


def test_a_fault_of_ours_is_named_and_the_next_file_is_judged(detector, talking_clip, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(detector.faces, "detect", lambda _: 1 / 0)
        broken = detector.detect(talking_clip)
    assert (broken.status, broken.p_fake) == ("internal_error", None)
    assert "ZeroDivisionError" in broken.reason
    assert detector.detect(talking_clip).status == "scored"


def test_two_faces_are_judged_apart(detector, talking_face, tmp_path):
    frames, voice = talking_face
    other = np.ascontiguousarray(frames[:, :, ::-1])
    both = np.concatenate([frames, other], axis=2)
    result = detector.detect(write_clip(tmp_path / "two.mp4", both, waveform=voice))
    assert len(result.faces) == 2
    left, right = sorted(result.faces, key=lambda face: face.box[0])
    assert left.box[2] < frames.shape[2] < right.box[2]
    assert result.p_fake == pytest.approx(max(face.p_fake for face in result.faces))


@pytest.mark.parametrize("offset", [{"audio_offset_s": 0.5}, {"video_offset_s": 0.5}])
def test_a_late_stream_is_late_on_the_timeline(detector, talking_face, tmp_path, offset):
    frames, voice = talking_face
    options = WriteOptions(**offset)
    result = detector.detect(write_clip(tmp_path / "late.mp4", frames, waveform=voice, options=options))
    expected = 0.6 if "video_offset_s" in offset else 0.0  # the first step whose centre lies in the picture
    assert result.status == "scored"
    assert result.faces[0].start_s == pytest.approx(expected, abs=0.201)


def test_an_untrained_model_is_refused(tiny_folder, tmp_path):
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(tiny_folder)
    model.config.calibration = None
    model.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    with pytest.raises(UntrainedModelError, match="no calibration"):
        Detector.from_pretrained(tmp_path)


def test_a_checkpoint_that_lacks_weights_is_refused(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    dropped = next(name for name in weights if "joint_head" in name)
    del weights[dropped]
    save_file(weights, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UntrainedModelError, match=dropped):
        Detector.from_pretrained(tmp_path / "m")


def test_a_pickle_is_refused(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "m")
    torch.save({"a": torch.zeros(1)}, tmp_path / "m" / "pytorch_model.bin")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        Detector.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("pause_s", [5, 10])
def test_a_pause_in_a_voice_is_left_out_of_its_windows(detector, talking_face, tmp_path, pause_s):
    """A window without any sound was once refused by PyTorch, and 100 % fake in an exported graph."""
    voice = talking_face[1]
    path = write_clip(tmp_path / "voice.wav", None, waveform=voice, options=WriteOptions(audio_codec="pcm_s16le"))
    samples = np.concatenate([voice, np.zeros(pause_s * RATE, np.float32), voice])
    valid = np.array([[0, len(voice)], [len(samples) - len(voice), len(samples)]])
    nothing = MediaError(Status.no_video, "it has no picture", str(path))
    clip = MemorySource(str(path), probe(path), nothing, Audio(samples, RATE, valid))
    result = detector.judge(clip)
    assert result.status == "no_video", result.reason
    assert 0 < result.p_fake < 1
    within = [s for s in result.timeline if s.start_s > 4 + 3.2 and s.end_s < 4 + pause_s - 3.2]
    assert not within, "no window lies wholly in the pause"


def test_sound_that_no_face_is_seen_with_is_not_judged(detector, talking_face, tmp_path):
    """Such a clip was once "scored", as if picture and voice had been judged together."""
    frames, voice = talking_face
    samples = np.concatenate([np.zeros(8 * RATE, np.float32), voice])
    path = write_clip(tmp_path / "late.mp4", frames, 25.0, voice, RATE)
    steps = list(FileSource(str(path)).frames(5.0, []))
    sound = Audio(samples, RATE, np.array([[8 * RATE, len(samples)]]))
    result = detector.judge(MemorySource(str(path), probe(path), steps, sound))
    assert (result.status, result.p_fake_audio) == ("no_audio", None)
    assert "no sound while a face is seen" in result.reason


def test_a_model_that_judges_voices_only_judges_the_voice_of_a_video(tiny_folder, detector, talking_clip):
    calibration = {name: value for name, value in detector.calibration.items() if name not in ("joint", "video")}
    result = Detector.from_pretrained(tiny_folder, device="cpu", calibration=calibration).detect(talking_clip)
    assert result.status == "no_video"
    assert result.p_fake == result.p_fake_audio is not None
    assert result.reason == "this model judges voices only: judged on the voice alone"


def test_a_joint_calibration_holds_for_a_picture_alone(tiny_folder, detector, talking_face, tmp_path):
    """Without labels of the streams no answer of the picture is fitted; a silent file was then a fault of ours."""
    calibration = {name: value for name, value in detector.calibration.items() if name not in ("video", "audio")}
    path = write_clip(tmp_path / "silent.mp4", talking_face[0], 25.0)
    result = Detector.from_pretrained(tiny_folder, device="cpu", calibration=calibration).detect(path)
    assert result.status == "no_audio"
    assert result.p_fake is not None


def test_a_local_model_is_told_by_its_weights(tiny_folder, tmp_path):
    """Every trained model was "model" of no revision, whatever its weights."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = folder / "model.safetensors"
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert Detector.from_pretrained(folder, device="cpu").model_info == {"id": "model", "revision": before}
    changed = load_file(weights)
    next(iter(changed.values())).add_(1)
    save_file(changed, weights, metadata={"format": "pt"})
    after = Detector.from_pretrained(folder, device="cpu").model_info["revision"]
    assert after == hashlib.sha256(weights.read_bytes()).hexdigest() != before


@pytest.mark.parametrize("device", ["cuda:99", "no-such-device"])
def test_a_device_that_is_not_there_is_named(tiny_folder, device):
    """On a build without it PyTorch raises an AssertionError, which ended the command with a traceback."""
    with pytest.raises(ValueError, match=f"device must be one that PyTorch has here, but '{device}' is not"):
        Detector.from_pretrained(tiny_folder, device=device)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", None])
def test_damaged_weights_are_named(tiny_folder, tmp_path, content):
    """safetensors has an error of its own, which ended the command with a traceback."""
    folder = shutil.copytree(tiny_folder, tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1000] if content is None else content)
    with pytest.raises(OSError, match=r"the model.safetensors of .*m cannot be read .* Git LFS pointer"):
        Detector.from_pretrained(folder, device="cpu")


def test_the_shipped_model_is_found_and_loads():
    assert Detector.from_pretrained(shipped_model(), device="cpu").config.calibration["source"]


def test_without_a_joint_calibration_a_clip_is_judged_on_its_picture(detector, tiny_folder, talking_clip):
    """As after a calibration on silent clips."""
    silent = {name: value for name, value in detector.calibration.items() if name not in ("joint", "audio")}
    result = Detector.from_pretrained(tiny_folder, device="cpu", calibration=silent).detect(talking_clip)
    assert result.status == "no_audio"
    assert "not calibrated for picture and sound together: judged on the picture alone" in result.reason
    assert result.p_fake == result.p_fake_video


@pytest.mark.parametrize(("codec", "suffix", "doubted"), [("libopus", ".webm", True), ("aac", ".mp4", False)])
def test_a_voice_in_a_codec_that_masks_it_gets_no_verdict(detector, talking_face, tmp_path, codec, suffix, doubted):
    frames, voice = talking_face
    video = "libvpx" if suffix == ".webm" else "libx264"
    options = WriteOptions(audio_codec=codec, video_codec=video)
    path = write_clip(tmp_path / f"clip{suffix}", frames, 25.0, voice, RATE, options=options)
    result = detector.detect(path)
    assert result.status == "scored"
    assert any("coded in opus" in warning for warning in result.warnings) is doubted
    if doubted:
        assert result.verdict == "inconclusive"
