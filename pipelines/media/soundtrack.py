"""Carries the sound of one video over to another that is being written."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from pipelines.errors import VideoError

COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3"})
"""Codecs that every mp4 player knows; their packets are copied. Others become AAC."""

# Packets from before the first video frame are dropped, but for the few with which decoders warm up
# (an AAC file starts 1024 samples early); the mp4 notes that they are not to be heard.
_WARM_UP_S = Fraction(1, 10)
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
_AAC_BITRATE = 160_000


# PyAV has no place for streams that appear midway, as they do in damaged MPEG-TS, and runs off its list.
DEMUX_ERRORS = (av.FFmpegError, IndexError)


class Soundtrack:
    """The `audio_stream` of `source`, timed from its first video frame, as a stream of `output`.

    Create it before the first packet of the output is written, and call `write_until` as the picture grows,
    so that both are interleaved. Sound from after the last call is left out. Messages call `source` `name`.
    """

    def __init__(self, source: InputContainer, output: OutputContainer, name: str) -> None:
        self._source = source
        self._output = output
        self._name = name
        self._start = _picture_start(source)
        self._waiting: tuple[Fraction, Packet[AudioStream]] | None = None
        stream = audio_stream(source)
        if stream is None:
            raise ValueError(f"{name} has no sound that can be decoded")
        if stream.codec_context.codec.canonical_name in COPIED_CODECS:
            self._out = output.add_stream_from_template(stream)
            self._packets = self._copied(stream)
        else:
            self._out = output.add_stream("aac", rate=_aac_rate(stream.rate), bit_rate=_AAC_BITRATE)
            self._out.codec_context.layout = "mono" if stream.channels == 1 else "stereo"
            self._packets = self._encoded(stream)

    def write_until(self, seconds: Fraction) -> None:
        """Write the sound that begins before `seconds`."""
        try:
            while self._waiting is None or self._waiting[0] < seconds:
                if self._waiting is not None:
                    self._output.mux(self._waiting[1])
                self._waiting = next(self._packets, None)
                if self._waiting is None:
                    return
        except (*DEMUX_ERRORS, ValueError) as error:  # ValueError: the resampler, when the layout changes
            raise VideoError(
                "unreadable",
                f"{self._name}: the sound is damaged before second {float(seconds):.2f} ({error}). "
                "Leave the sound out or repair the file.",
            ) from error

    def _copied(self, stream: AudioStream) -> "Iterator[tuple[Fraction, Packet[AudioStream]]]":
        """Packets as they are, with the second at which each begins."""
        last = None
        for packet in self._source.demux(stream):
            stamp = packet.dts if packet.pts is None else packet.pts
            tick = packet.time_base
            if stamp is None or tick is None:
                continue  # the empty packet that ends the stream
            if last is not None and stamp <= last:
                continue  # damaged recordings step back in time, which an mp4 cannot
            last = stamp
            packet.pts = packet.dts = stamp - round(self._start / tick)
            packet.stream = self._out
            if packet.pts * tick >= -_WARM_UP_S:
                yield packet.pts * tick, packet

    def _encoded(self, stream: AudioStream) -> "Iterator[tuple[Fraction, Packet[AudioStream]]]":
        """The sound as AAC packets, with the second at which each begins."""
        for frame in chain(self._resampled(stream), [None]):
            for packet in self._out.encode(frame):
                if packet.pts is not None and packet.time_base is not None:
                    yield packet.pts * packet.time_base, packet

    def _resampled(self, stream: AudioStream) -> Iterator[AudioFrame]:
        """Decoded sound in the encoder's format, its clock set to 0 at the first video frame."""
        encoder = self._out.codec_context
        resampler = av.AudioResampler(format="fltp", layout=encoder.layout, rate=encoder.sample_rate)
        for frame in self._decoded(stream):
            tick = frame.time_base
            if frame.pts is None or tick is None:
                continue
            frame.pts -= round(self._start / tick)
            if frame.pts * tick >= -_WARM_UP_S:
                yield from resampler.resample(frame)
        yield from resampler.resample(None)

    def _decoded(self, stream: AudioStream) -> Iterator[AudioFrame]:
        """All that can be decoded: one bad packet is a click, no reason to have no sound."""
        for packet in self._source.demux(stream):
            with suppress(av.FFmpegError):
                yield from packet.decode()


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream with a known codec (others have no codec context)."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def _picture_start(container: InputContainer) -> Fraction:
    """When the first video frame is shown, on the file's own clock."""
    for video in container.streams.video:
        if video.start_time is not None and video.time_base is not None:
            return video.start_time * video.time_base
    return Fraction(0)


def _aac_rate(rate: int) -> int:
    return rate if rate in _AAC_RATES else 48_000
