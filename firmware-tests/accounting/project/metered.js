export default (event) => ({seen: event.data});
