// One control for everything that moves: all videos, in step, or where there are none all series of sample grids.
const videos = [...document.querySelectorAll("video")];
const series = [...document.querySelectorAll(".series")].map((figure) => [...figure.querySelectorAll("img")]);
const [controls, button, slider, clock] = ["controls", "play", "position", "clock"].map((id) => document.getElementById(id));
const steps = [...new Set(series.flat().map((image) => Number(image.dataset.step)))].sort((a, b) => a - b);
const LATE = 0.05; // seconds that a video may lag behind before it is set right
const SECONDS_A_GRID = 0.8;

let playing = false;
let began = 0; // when grids began to play, as if from the first one, in ms

const seconds = (video) => (Number.isFinite(video.duration) ? video.duration : 0);
const longest = () => videos.reduce((a, b) => (seconds(b) > seconds(a) ? b : a));
const end = () => (videos.length ? seconds(longest()) : steps.length - 1);

function showGrids(index) {
  for (const images of series) {
    const upTo = images.filter((image) => Number(image.dataset.step) <= steps[index]);
    const shown = upTo.at(-1) ?? images[0];
    for (const image of images) image.parentElement.hidden = image !== shown;
  }
}

// `at`: seconds into the videos, or which of the steps.
function show(at) {
  slider.max = end();
  slider.value = at;
  clock.textContent = videos.length
    ? `${at.toFixed(2)} s of ${end().toFixed(2)} s`
    : `step ${steps[at].toLocaleString("en")} of ${steps.at(-1).toLocaleString("en")}`;
  if (!videos.length) showGrids(at);
}

function seek(at) {
  for (const video of videos) video.currentTime = Math.min(at, seconds(video));
  began = performance.now() - at * SECONDS_A_GRID * 1000;
  show(at);
}

function setPlaying(wanted) {
  playing = wanted;
  button.textContent = playing ? "Pause" : "Play";
  if (playing) {
    seek(Number(slider.value) >= end() ? 0 : Number(slider.value));
    requestAnimationFrame(advance);
  }
  for (const video of videos) playing ? video.play().catch(() => {}) : video.pause();
}

function advance(now) {
  if (!playing) return;
  if (videos.length) {
    const leader = longest();
    if (leader.ended) {
      seek(0);
      for (const video of videos) video.play().catch(() => {});
    }
    for (const video of videos) {
      const at = Math.min(leader.currentTime, seconds(video));
      if (!video.seeking && Math.abs(video.currentTime - at) > LATE) video.currentTime = at;
    }
    show(leader.currentTime);
  } else {
    show(Math.floor(Math.max(0, now - began) / 1000 / SECONDS_A_GRID) % steps.length);
  }
  requestAnimationFrame(advance);
}

if (controls) {
  controls.hidden = false;
  slider.step = videos.length ? 0.04 : 1;
  for (const video of videos) {
    video.controls = false;
    video.addEventListener("loadedmetadata", () => show(Number(slider.value)));
  }
  button.addEventListener("click", () => setPlaying(!playing));
  slider.addEventListener("input", () => {
    setPlaying(false);
    seek(Number(slider.value));
  });
  show(videos.length ? 0 : steps.length - 1);
}
