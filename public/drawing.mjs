/** A canvas to draw on with mouse, pen or touch, white on black like MNIST's digits. */

/** pixels on the longer side: ten times a model's 28 */
const SIZE = 280

/**
 * @param {HTMLCanvasElement} canvas
 * @param {object} events
 * @param {() => void} events.onDraw called while a line is drawn, many times per second
 * @param {() => void} events.onChange called when a line is complete or undone
 */
export function createDrawing(canvas, { onDraw, onChange }) {
  /** @type {{ width: number, points: [number, number][] }[]} */
  let lines = []
  /** the pointer that draws; other fingers do not */
  let drawing
  let penWidth = 22
  const pen = canvas.getContext('2d', { willReadFrequently: true })

  function draw({ width, points }, from = 0) {
    pen.lineWidth = width
    pen.lineCap = pen.lineJoin = 'round'
    pen.strokeStyle = '#fff'
    pen.beginPath()
    pen.moveTo(...points[from])
    // a line to where it begins is a dot
    for (const point of points.slice(Math.max(from, points.length > 1 ? 1 : 0))) pen.lineTo(...point)
    pen.stroke()
  }

  function redraw() {
    pen.fillStyle = '#000'
    pen.fillRect(0, 0, canvas.width, canvas.height)
    for (const line of lines) draw(line)
  }

  function pointOf({ clientX, clientY }) {
    const { left, top, width, height } = canvas.getBoundingClientRect()
    return [((clientX - left) / width) * canvas.width, ((clientY - top) / height) * canvas.height]
  }

  canvas.addEventListener('pointerdown', (event) => {
    if (drawing !== undefined || event.button !== 0) return
    drawing = event.pointerId
    canvas.setPointerCapture(drawing)
    lines.push({ width: penWidth, points: [pointOf(event)] })
    draw(lines.at(-1))
    onDraw()
  })
  canvas.addEventListener('pointermove', (event) => {
    if (event.pointerId !== drawing) return
    const line = lines.at(-1)
    const drawn = line.points.length - 1
    const moves = event.getCoalescedEvents?.() ?? []
    line.points.push(...(moves.length > 0 ? moves : [event]).map(pointOf))
    draw(line, drawn)
    onDraw()
  })
  for (const end of ['pointerup', 'pointercancel']) {
    canvas.addEventListener(end, (event) => {
      if (event.pointerId !== drawing) return
      drawing = undefined
      onChange()
    })
  }

  return {
    /** @param {number} width @param {number} height the model's, in pixels */
    resize(width, height) {
      const scale = SIZE / Math.max(width, height)
      canvas.width = Math.round(width * scale)
      canvas.height = Math.round(height * scale)
      redraw()
    },
    set penWidth(pixels) {
      penWidth = pixels
    },
    get isEmpty() {
      return lines.length === 0
    },
    /** The longer side of what is drawn, as a share of the canvas: 0 to 1. */
    get extent() {
      const sides = [0, 1].map((axis) => {
        const ends = lines.flatMap(({ width, points }) =>
          points.flatMap((point) => [point[axis] - width / 2, point[axis] + width / 2]),
        )
        return Math.max(...ends) - Math.min(...ends)
      })
      return Math.min(1, Math.max(0, ...sides) / SIZE)
    },
    /** Whether a line is being drawn. */
    get isDrawing() {
      return drawing !== undefined
    },
    undo() {
      drawing = undefined
      lines.pop()
      redraw()
      onChange()
    },
    clear() {
      drawing = undefined
      lines = []
      redraw()
      onChange()
    },
    /** @returns {Promise<Blob>} a PNG */
    toPng: () => new Promise((resolve) => canvas.toBlob(resolve, 'image/png')),
  }
}
