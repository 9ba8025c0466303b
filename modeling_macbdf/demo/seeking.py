"""The script that joins timeline and video: a click or a key moves the video, the playing video moves the line."""

SEEK = """
const video = () => document.querySelector('#m-preview video');
const line = () => element.querySelector('.m-timeline');
const end = () => Number(line().dataset.end);
const show = (time) => {
  const track = line().querySelector('.m-track');
  line().querySelector('.m-playhead').style.left = (track.offsetLeft + time / end() * track.offsetWidth) + 'px';
  line().setAttribute('aria-valuenow', time.toFixed(1));
  line().setAttribute('aria-valuetext', time.toFixed(1) + ' s');
};
const seek = (time) => {
  const to = Math.min(Math.max(time, 0), end());
  if (video()) video().currentTime = to;
  show(to);
};
element.addEventListener('click', (event) => {
  const track = event.target.closest('.m-track');
  if (!track) return;
  const box = track.getBoundingClientRect();
  seek((event.clientX - box.left) / box.width * end());
});
element.addEventListener('keydown', (event) => {
  if (!event.target.classList.contains('m-timeline')) return;
  const now = Number(line().getAttribute('aria-valuenow'));
  const to = {ArrowRight: now + 0.2, ArrowLeft: now - 0.2, ArrowUp: now + 0.2, ArrowDown: now - 0.2,
    PageUp: now + 1.6, PageDown: now - 1.6, Home: 0, End: end()}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  seek(to);
});
document.addEventListener('timeupdate', (event) => {
  if (event.target === video() && line()) show(event.target.currentTime);
}, true);
"""
