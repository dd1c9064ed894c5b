/** The camera: a live picture, and frames of it as images. The browser asks for permission. */

/** longer side of a frame, pixels */
const MAX_SIDE = 1280

/** Whether this browser can open a camera: without TLS only on localhost. */
export const hasCamera = navigator.mediaDevices?.getUserMedia !== undefined

/**
 * @param {HTMLVideoElement} video
 * @returns a camera that is closed
 */
export function createCamera(video) {
  const canvas = document.createElement('canvas')
  const wanted = { video: { facingMode: 'environment', width: { ideal: MAX_SIDE } } }
  let stream
  /** changes with each opening and closing: the visitor may go on before permitting the camera */
  let turn = 0

  function close() {
    turn++
    stopTracks(stream)
    video.srcObject = stream = null
  }

  return {
    /**
     * @returns {Promise<boolean>} false if it was closed, or opened again, meanwhile
     * @throws {Error} whose message says what to do
     */
    async open() {
      close()
      const own = turn
      try {
        const opened = await navigator.mediaDevices.getUserMedia(wanted)
        if (own === turn) {
          video.srcObject = stream = opened
          await video.play()
        } else stopTracks(opened)
      } catch ({ name }) {
        if (own !== turn) return false
        if (name === 'NotAllowedError') {
          throw new Error('The camera is blocked: allow it in the address bar, or choose an image')
        }
        throw new Error('No camera is available: choose an image instead')
      }
      return own === turn
    },
    close,
    /** @returns {Promise<Blob>} a JPEG */
    frame() {
      const scale = Math.min(1, MAX_SIDE / Math.max(video.videoWidth, video.videoHeight))
      canvas.width = Math.round(video.videoWidth * scale)
      canvas.height = Math.round(video.videoHeight * scale)
      canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height)
      return new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.9))
    },
  }
}

function stopTracks(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop()
}
